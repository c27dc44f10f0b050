#include "ipc_fixture.h"

struct seen {
    atomic_int ups;
    atomic_int downs;
    atomic_int pushes;
    atomic_int answers;
    atomic_int last_status;
    atomic_size_t last_n;
};

static void on_up(void *user)
{
    atomic_fetch_add(&((struct seen *)user)->ups, 1);
}

static void on_down(void *user)
{
    atomic_fetch_add(&((struct seen *)user)->downs, 1);
}

static void on_push(void *user, enum msg_type type, struct view payload)
{
    struct seen *s = user;

    if (type == MSG_LEDGER_CHANGED && payload.n == 24)
        atomic_fetch_add(&s->pushes, 1);
}

static void on_done(void *user, int status, struct view payload)
{
    struct seen *s = user;

    atomic_store(&s->last_status, status);
    atomic_store(&s->last_n, payload.n);
    atomic_fetch_add(&s->answers, 1);
}

static struct link *open_link(const char *path, struct seen *s)
{
    struct link_opts opts = { .socket_path = path, .host = { { 5 } }, .lease_s = 300, .user = s,
                              .on_up = on_up, .on_down = on_down, .on_push = on_push };
    struct link *l = NULL;

    memset(s, 0, sizeof *s);
    CHECK_EQ(link_open(&opts, &l), 0);
    CHECK_EQ(link_call(l, MSG_STATUS, view_text("abc"), -1, 0, NULL, NULL), PHR_E_SIDECAR);
    CHECK_EQ(link_start(l), 0);
    return l;
}

TEST(link__answers_many_calls_from_many_threads)
{
    struct fixture f;
    struct seen s;
    struct link *l;

    UNUSED_STATE;
    fixture_init(&f);
    l = open_link(f.path, &s);
    CHECK_SOON(link_is_up(l));
    for (int i = 0; i < 500; i++) {
        int rc;

        while ((rc = link_call(l, MSG_STATUS, view_text("abc"), -1, 5000, on_done, &s)) == -EAGAIN)
            poll(NULL, 0, 1);
        CHECK_EQ(rc, 0);
    }
    CHECK_SOON(atomic_load(&s.answers) == 500);
    CHECK_EQ(atomic_load(&s.last_status), 0);
    CHECK_EQ(atomic_load(&s.last_n), 3);
    link_close(l);
    fixture_fini(&f);
}

TEST(link__sends_a_descriptor_and_takes_pushes)
{
    struct fixture f;
    struct seen s;
    struct link *l;
    uint8_t push[24] = { 1 };
    int file = memfd_create("t", MFD_CLOEXEC);

    UNUSED_STATE;
    CHECK(file >= 0);
    fixture_init(&f);
    l = open_link(f.path, &s);
    CHECK_SOON(atomic_load(&s.ups) == 1);
    CHECK_EQ(link_call(l, MSG_OBJECT_PUT, view_text("x"), file, 5000, on_done, &s), 0);
    close(file); /* the link has its own */
    CHECK_SOON(atomic_load(&s.answers) == 1);
    CHECK_EQ(atomic_load(&s.last_status), 0);
    CHECK_EQ(atomic_load(&s.last_n), 8);
    server_push(f.server, IPC_ROLE_TOOL, MSG_LEDGER_CHANGED, view_of(push, sizeof push));
    server_push(f.server, IPC_ROLE_MOUNT, MSG_LEDGER_CHANGED, view_of(push, sizeof push));
    CHECK_SOON(atomic_load(&s.pushes) == 1);
    link_close(l);
    fixture_fini(&f);
}

TEST(link__answers_timeout_when_the_server_does_not)
{
    struct fixture f;
    struct seen s;
    struct link *l;

    UNUSED_STATE;
    fixture_init(&f);
    l = open_link(f.path, &s);
    CHECK_SOON(link_is_up(l));
    CHECK_EQ(link_call(l, MSG_PROVE, view_text("x"), -1, 40, on_done, &s), 0);
    CHECK_SOON(atomic_load(&s.answers) == 1);
    CHECK_EQ(atomic_load(&s.last_status), PHR_E_TIMEOUT);
    request_reply(fixture_take_held(&f), 0, view_text("late"));
    CHECK_EQ(link_call(l, MSG_STATUS, view_text("x"), -1, 5000, on_done, &s), 0);
    CHECK_SOON(atomic_load(&s.answers) == 2); /* and the late one is forgotten */
    CHECK_EQ(atomic_load(&s.last_status), 0);
    link_close(l);
    fixture_fini(&f);
}

TEST(link__refuses_at_once_when_down_and_comes_back_by_itself)
{
    struct fixture f;
    struct seen s;
    struct link *l;
    struct request *lost;

    UNUSED_STATE;
    fixture_init(&f);
    l = open_link(f.path, &s);
    CHECK_SOON(atomic_load(&s.ups) == 1);
    CHECK_EQ(link_call(l, MSG_PROVE, view_text("x"), -1, 0, on_done, &s), 0);
    lost = fixture_take_held(&f);
    fixture_stop(&f);
    request_reply(lost, 0, view_of(NULL, 0));
    CHECK_SOON(atomic_load(&s.downs) == 1);
    CHECK_EQ(atomic_load(&s.answers), 1);
    CHECK_EQ(atomic_load(&s.last_status), PHR_E_SIDECAR);
    CHECK_EQ(link_call(l, MSG_STATUS, view_text("x"), -1, 0, on_done, &s), PHR_E_SIDECAR);
    fixture_start(&f);
    CHECK_SOON(atomic_load(&s.ups) == 2);
    CHECK_EQ(link_call(l, MSG_STATUS, view_text("x"), -1, 5000, on_done, &s), 0);
    CHECK_SOON(atomic_load(&s.answers) == 2);
    link_close(l);
    fixture_fini(&f);
}

TEST(link__close_answers_what_is_in_flight)
{
    struct fixture f;
    struct seen s;
    struct link *l;
    struct request *lost;

    UNUSED_STATE;
    fixture_init(&f);
    l = open_link(f.path, &s);
    CHECK_SOON(link_is_up(l));
    CHECK_EQ(link_call(l, MSG_PROVE, view_text("x"), -1, 0, on_done, &s), 0);
    lost = fixture_take_held(&f);
    link_close(l);
    CHECK_EQ(atomic_load(&s.answers), 1);
    CHECK_EQ(atomic_load(&s.last_status), PHR_E_CLOSED);
    CHECK_EQ(atomic_load(&s.downs), 0);
    request_reply(lost, 0, view_of(NULL, 0));
    fixture_fini(&f);
}

TEST(link__keeps_trying_when_hello_is_refused)
{
    struct fixture f;
    struct seen s;
    struct link *l;

    UNUSED_STATE;
    fixture_init(&f);
    atomic_store(&f.drop_hello, true);
    l = open_link(f.path, &s);
    CHECK_SOON(atomic_load(&f.closed_count) >= 2);
    CHECK(!link_is_up(l));
    atomic_store(&f.drop_hello, false);
    CHECK_SOON(link_is_up(l));
    CHECK_EQ(atomic_load(&s.downs), 0);
    link_close(l);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(link__answers_many_calls_from_many_threads),
        UNIT(link__sends_a_descriptor_and_takes_pushes),
        UNIT(link__answers_timeout_when_the_server_does_not),
        UNIT(link__refuses_at_once_when_down_and_comes_back_by_itself),
        UNIT(link__close_answers_what_is_in_flight),
        UNIT(link__keeps_trying_when_hello_is_refused),
    };

    return RUN_TESTS(tests);
}
