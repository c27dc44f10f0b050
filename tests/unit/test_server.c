#include "ipc_fixture.h"

#include <sys/wait.h>

static int raw_connect(const struct fixture *f)
{
    int fd = -1;

    CHECK_EQ(dial(f->path, &fd), 0);
    return fd;
}

static void raw_send(int sock, uint16_t type, uint64_t id, const void *p, size_t n)
{
    struct frame_head head = { .payload_bytes = (uint32_t)n, .type = type, .id = id };
    uint8_t bytes[FRAME_HEAD_BYTES];

    frame_head_encode(&head, bytes);
    CHECK_EQ(send(sock, bytes, sizeof bytes, MSG_NOSIGNAL), (ssize_t)sizeof bytes);
    if (n)
        CHECK_EQ(send(sock, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

static int raw_status(int sock)
{
    struct frame_head head;
    uint8_t bytes[FRAME_HEAD_BYTES];

    CHECK_EQ(recv(sock, bytes, sizeof bytes, MSG_WAITALL), (ssize_t)sizeof bytes);
    CHECK_EQ(frame_head_decode(bytes, &head), 0);
    return head.status;
}

static bool is_closed_by_server(int sock)
{
    struct pollfd p = { .fd = sock, .events = POLLIN };
    char c;

    return poll(&p, 1, 5000) == 1 && recv(sock, &c, 1, MSG_DONTWAIT) <= 0;
}

TEST(server__refuses_by_status_what_breaks_a_rule_and_goes_on)
{
    struct fixture f;
    uint8_t big[128] = { 0 };
    int sock;

    UNUSED_STATE;
    fixture_init(&f);
    sock = raw_connect(&f);
    raw_send(sock, 999, 1, big, sizeof big); /* unknown */
    CHECK_EQ(raw_status(sock), PHR_E_PROTOCOL);
    raw_send(sock, MSG_PROVE, 2, big, 3); /* not before HELLO */
    CHECK_EQ(raw_status(sock), -EPERM);
    raw_send(sock, MSG_HELLO, 3, big, sizeof big); /* too long */
    CHECK_EQ(raw_status(sock), PHR_E_LIMIT);
    raw_send(sock, MSG_HELLO, 4, big, HELLO_BYTES); /* not a HELLO */
    CHECK_EQ(raw_status(sock), PHR_E_PROTOCOL);
    raw_send(sock, MSG_STATUS, 5, NULL, 0);
    CHECK_EQ(raw_status(sock), 0);
    close(sock);
    CHECK_SOON(atomic_load(&f.closed_count) == 1);
    fixture_fini(&f);
}

TEST(server__closes_who_breaks_the_framing)
{
    struct fixture f;
    uint8_t junk[64];

    UNUSED_STATE;
    fixture_init(&f);
    for (unsigned kind = 0; kind < 4; kind++) {
        int sock = raw_connect(&f);
        struct frame_head head = { .type = MSG_STATUS, .id = 1 };

        memset(junk, 0xff, sizeof junk);
        if (kind > 0) {
            head.id = kind == 1 ? 0 : 1;     /* pushes come from the server only */
            head.status = kind == 2 ? -1 : 0; /* so do results */
            frame_head_encode(&head, junk);
            junk[6] = kind == 3 ? 1 : 0;
        }
        CHECK_EQ(send(sock, junk, FRAME_HEAD_BYTES, MSG_NOSIGNAL), FRAME_HEAD_BYTES);
        CHECK(is_closed_by_server(sock));
        close(sock);
    }
    CHECK_SOON(atomic_load(&f.closed_count) == 4);
    fixture_fini(&f);
}

TEST(server__asks_for_exactly_the_descriptors_of_the_rule)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };
    int file = -1;

    UNUSED_STATE;
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_TOOL, &c), 0);
    file = memfd_create("t", MFD_CLOEXEC);
    CHECK_EQ(ftruncate(file, 4711), 0);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_text("x"), file, 5000, &reply), PHR_E_PROTOCOL);
    CHECK_EQ(caller_call(c, MSG_OBJECT_PUT, view_text("x"), file, 5000, &reply), -EPERM);
    caller_reply_fini(&reply);
    caller_close(c);
    close(file);
    fixture_fini(&f);
}

TEST(server__keeps_secret_payloads_in_the_arena_only_until_the_reply)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };

    UNUSED_STATE;
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_NONE, &c), 0);
    CHECK_EQ(caller_call(c, MSG_LOGIN, view_text("canary"), -1, 5000, &reply), 0);
    CHECK_EQ(reply.n, 6);
    caller_reply_fini(&reply);
    CHECK_SOON(secret_used_bytes() == 0);
    caller_close(c);
    fixture_fini(&f);
}

TEST(server__stops_reading_when_too_much_is_in_flight)
{
    struct fixture f;
    struct hello hello = { .role = IPC_ROLE_TOOL };
    uint8_t bytes[HELLO_BYTES];
    int sock;

    UNUSED_STATE;
    fixture_init(&f);
    sock = raw_connect(&f);
    hello_encode(&hello, bytes);
    raw_send(sock, MSG_HELLO, 1, bytes, sizeof bytes);
    CHECK_EQ(raw_status(sock), 0);
    CHECK_EQ(recv(sock, bytes, sizeof bytes, 0), sizeof bytes);
    {
        uint8_t rest[HELLO_REPLY_BYTES];

        CHECK_EQ(recv(sock, rest, HELLO_REPLY_BYTES - HELLO_BYTES, MSG_WAITALL),
                 HELLO_REPLY_BYTES - HELLO_BYTES);
    }
    for (uint64_t id = 2; id < 22; id++) /* eight are allowed */
        raw_send(sock, MSG_PROVE, id, NULL, 0);
    poll(NULL, 0, 200);
    pthread_mutex_lock(&f.lock);
    CHECK_EQ(f.held_count, 8);
    pthread_mutex_unlock(&f.lock);
    for (int i = 0; i < 20; i++)
        request_reply(fixture_take_held(&f), 0, view_of(NULL, 0));
    for (int i = 0; i < 20; i++)
        CHECK_EQ(raw_status(sock), 0);
    close(sock);
    fixture_fini(&f);
}

TEST(server__survives_a_reply_after_the_peer_and_after_itself)
{
    struct fixture f;
    struct link *l = NULL;
    struct request *late[2];
    int sock;
    struct hello hello = { .role = IPC_ROLE_TOOL };
    uint8_t bytes[HELLO_BYTES];

    UNUSED_STATE;
    (void)l;
    fixture_init(&f);
    sock = raw_connect(&f);
    hello_encode(&hello, bytes);
    raw_send(sock, MSG_HELLO, 1, bytes, sizeof bytes);
    raw_send(sock, MSG_PROVE, 2, NULL, 0);
    raw_send(sock, MSG_PROVE, 3, NULL, 0);
    late[0] = fixture_take_held(&f);
    late[1] = fixture_take_held(&f);
    CHECK(request_is_wanted(late[0]));
    close(sock);
    CHECK_SOON(!request_is_wanted(late[0]));
    request_reply(late[0], 0, view_text("into nothing"));
    fixture_stop(&f);
    CHECK(!request_is_wanted(late[1]));
    request_reply(late[1], 0, view_text("into nothing"));
    fixture_fini(&f);
}

static bool is_answered(int sock)
{
    struct frame_head head = { .type = MSG_STATUS, .id = 1 };
    uint8_t bytes[FRAME_HEAD_BYTES];

    frame_head_encode(&head, bytes);
    return send(sock, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes &&
           recv(sock, bytes, sizeof bytes, MSG_WAITALL) == (ssize_t)sizeof bytes;
}

/* As somebody else, so in a process of its own: how many of nine connections are kept. */
static int kept_of_nine(const struct fixture *f, uid_t uid)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        int socks[9];
        int kept = 0;

        if (setresuid(uid, uid, uid) < 0)
            _exit(99);
        for (size_t i = 0; i < 9; i++)
            socks[i] = raw_connect(f);
        for (size_t i = 0; i < 9; i++)
            kept += is_answered(socks[i]);
        _exit(kept);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(server__keeps_places_that_strangers_cannot_take)
{
    struct fixture f;
    int socks[17];

    UNUSED_STATE;
    fixture_init(&f);
    if (getuid() == 0) { /* of sixteen a quarter for one of them */
        CHECK_EQ(chmod(f.dir, 0711), 0);
        CHECK_EQ(chmod(f.path, 0666), 0);
        CHECK_EQ(kept_of_nine(&f, 65534), 4);
        CHECK_SOON(atomic_load(&f.closed_count) == 4);
    }
    for (size_t i = 0; i < 17; i++)
        socks[i] = raw_connect(&f);
    CHECK(is_closed_by_server(socks[16])); /* the one too many */
    raw_send(socks[15], MSG_STATUS, 1, NULL, 0);
    CHECK_EQ(raw_status(socks[15]), 0);
    for (size_t i = 0; i < 17; i++)
        close(socks[i]);
    fixture_fini(&f);
}

TEST(server__cuts_a_peer_who_never_fetches_his_answers)
{
    enum { BYTES = 3 * 1024 * 1024 };
    struct fixture f;
    uint8_t *payload = calloc(1, BYTES);
    struct frame_head head = { .payload_bytes = BYTES, .type = MSG_STATUS, .id = 1 };
    int sock;
    size_t frames = 0;
    int rc = 1;

    UNUSED_STATE;
    CHECK(payload != NULL);
    fixture_init(&f);
    sock = raw_connect(&f);
    while (frames < 40 && rc >= 0) {
        struct frame_out out;

        head.id = frames + 1;
        frame_out_init(&out, &head, view_of(payload, BYTES), -1);
        while ((rc = frame_out_write(&out, sock)) == 0) {
            struct pollfd p = { .fd = sock, .events = POLLOUT };

            CHECK(poll(&p, 1, 10000) == 1);
        }
        frames++;
    }
    CHECK_EQ(rc, PHR_E_CLOSED);
    close(sock);
    free(payload);
    CHECK_SOON(atomic_load(&f.closed_count) == 1);
    fixture_fini(&f);
}

TEST(server__replaces_a_dead_socket_but_no_living_one_and_no_file)
{
    struct fixture f;
    struct server *second = NULL;
    struct server_opts opts = { .socket_mode = 0600, .connections_max = 1, .in_flight_max = 1 };
    struct sockaddr_un addr;
    int dead;
    int file;

    UNUSED_STATE;
    fixture_init(&f);
    opts.socket_path = f.path;
    CHECK_EQ(server_open(&opts, &second), PHR_E_BUSY);
    fixture_stop(&f);
    dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(dial_address(f.path, &addr), 0);
    CHECK_EQ(bind(dead, (struct sockaddr *)&addr, sizeof addr), 0);
    close(dead);
    CHECK_EQ(server_open(&opts, &second), 0);
    server_close(second);
    file = open(f.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    close(file);
    CHECK_EQ(server_open(&opts, &second), -EEXIST);
    CHECK_EQ(unlink(f.path), 0);
    opts.socket_path = "/tmp/a-path-that-is-much-longer-than-any-socket-address-of-this-kernel-could-"
                       "ever-hold-in-its-hundred-and-eight-bytes/s";
    CHECK_EQ(server_open(&opts, &second), PHR_E_LIMIT);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(server__refuses_by_status_what_breaks_a_rule_and_goes_on),
        UNIT(server__closes_who_breaks_the_framing),
        UNIT(server__asks_for_exactly_the_descriptors_of_the_rule),
        UNIT(server__keeps_secret_payloads_in_the_arena_only_until_the_reply),
        UNIT(server__stops_reading_when_too_much_is_in_flight),
        UNIT(server__survives_a_reply_after_the_peer_and_after_itself),
        UNIT(server__keeps_places_that_strangers_cannot_take),
        UNIT(server__cuts_a_peer_who_never_fetches_his_answers),
        UNIT(server__replaces_a_dead_socket_but_no_living_one_and_no_file),
    };

    return RUN_TESTS(tests);
}
