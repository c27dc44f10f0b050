#include "ipc_fixture.h"

TEST(caller__gets_its_answer_and_knows_phrd_after_hello)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };

    UNUSED_STATE;
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_TOOL, &c), 0);
    CHECK_EQ(caller_get_host(c)->b[0], 9);
    CHECK_EQ(caller_get_srs_card(c)->b[0], 8);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_text("echo"), -1, 5000, &reply), 0);
    CHECK_EQ(reply.n, 4);
    CHECK_BYTES(reply.bytes, "echo", 5); /* with a NUL behind it */
    caller_reply_fini(&reply);
    caller_close(c);
    fixture_fini(&f);
}

TEST(caller__carries_the_largest_payload_both_ways)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };
    uint8_t *big = malloc(IPC_PAYLOAD_BYTES_MAX);

    UNUSED_STATE;
    CHECK(big != NULL);
    for (size_t i = 0; i < IPC_PAYLOAD_BYTES_MAX; i++)
        big[i] = (uint8_t)(i ^ i >> 9);
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_NONE, &c), 0);
    CHECK(caller_get_host(c) == NULL);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_of(big, IPC_PAYLOAD_BYTES_MAX), -1, 20000, &reply), 0);
    CHECK_EQ(reply.n, IPC_PAYLOAD_BYTES_MAX);
    CHECK_BYTES(reply.bytes, big, IPC_PAYLOAD_BYTES_MAX);
    caller_reply_fini(&reply);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_of(big, IPC_PAYLOAD_BYTES_MAX + 1u), -1, 1, &reply),
             PHR_E_LIMIT);
    caller_close(c);
    free(big);
    fixture_fini(&f);
}

TEST(caller__says_that_nobody_is_there)
{
    struct caller *c = NULL;

    UNUSED_STATE;
    CHECK_EQ(caller_open("/tmp/phr-nobody/s", IPC_ROLE_TOOL, &c), PHR_E_SIDECAR);
    CHECK(c == NULL);
}

TEST(caller__gives_up_after_its_time_and_stays_unusable)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };

    UNUSED_STATE;
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_TOOL, &c), 0);
    CHECK_EQ(caller_call(c, MSG_PROVE, view_text("x"), -1, 50, &reply), PHR_E_TIMEOUT);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_text("x"), -1, 50, &reply), PHR_E_CLOSED);
    request_reply(fixture_take_held(&f), 0, view_text("late"));
    caller_close(c);
    fixture_fini(&f);
}

TEST(caller__is_told_when_the_server_goes)
{
    struct fixture f;
    struct caller *c = NULL;
    struct caller_reply reply = { 0 };

    UNUSED_STATE;
    fixture_init(&f);
    CHECK_EQ(caller_open(f.path, IPC_ROLE_TOOL, &c), 0);
    fixture_stop(&f);
    CHECK_EQ(caller_call(c, MSG_STATUS, view_text("x"), -1, 1000, &reply), PHR_E_CLOSED);
    caller_close(c);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(caller__gets_its_answer_and_knows_phrd_after_hello),
        UNIT(caller__carries_the_largest_payload_both_ways),
        UNIT(caller__says_that_nobody_is_there),
        UNIT(caller__gives_up_after_its_time_and_stays_unusable),
        UNIT(caller__is_told_when_the_server_goes),
    };

    return RUN_TESTS(tests);
}
