#include "check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/frame.h"
#include "ipc/hello.h"

static void make_pair(int pair[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static struct frame_head head_of(uint32_t payload_bytes)
{
    return (struct frame_head){ .payload_bytes = payload_bytes, .type = MSG_STATUS, .id = 7 };
}

TEST(frame__head_is_the_same_after_a_round_trip)
{
    struct frame_head in = { .payload_bytes = 4096, .type = 9, .status = -5013, .id = UINT64_MAX };
    struct frame_head out = { 0 };
    uint8_t bytes[FRAME_HEAD_BYTES];

    UNUSED_STATE;
    frame_head_encode(&in, bytes);
    CHECK_EQ(frame_head_decode(bytes, &out), 0);
    CHECK_EQ(out.payload_bytes, 4096);
    CHECK_EQ(out.type, 9);
    CHECK_EQ(out.status, -5013);
    CHECK(out.id == UINT64_MAX);
}

TEST(frame__head_is_refused_when_too_long_or_reserved_is_set)
{
    struct frame_head in = head_of(IPC_PAYLOAD_BYTES_MAX);
    struct frame_head out;
    uint8_t bytes[FRAME_HEAD_BYTES];

    UNUSED_STATE;
    frame_head_encode(&in, bytes);
    CHECK_EQ(frame_head_decode(bytes, &out), 0);
    bytes[6] = 1;
    CHECK_EQ(frame_head_decode(bytes, &out), PHR_E_PROTOCOL);
    in.payload_bytes++;
    frame_head_encode(&in, bytes);
    CHECK_EQ(frame_head_decode(bytes, &out), PHR_E_PROTOCOL);
}

TEST(frame__arrives_whole_when_it_comes_byte_by_byte)
{
    struct frame_head head = head_of(5);
    struct frame_in in;
    uint8_t wire[FRAME_HEAD_BYTES + 5];
    uint8_t payload[5];
    int pair[2];

    UNUSED_STATE;
    make_pair(pair);
    frame_head_encode(&head, wire);
    memcpy(wire + FRAME_HEAD_BYTES, "hello", 5);
    frame_in_init(&in);
    for (size_t i = 0; i < sizeof wire; i++) {
        if (i < FRAME_HEAD_BYTES)
            CHECK_EQ(frame_in_head(&in, pair[1]), 0);
        else
            CHECK_EQ(frame_in_payload(&in, pair[1], payload), 0);
        CHECK_EQ(write(pair[0], wire + i, 1), 1);
        if (i == FRAME_HEAD_BYTES - 1)
            CHECK_EQ(frame_in_head(&in, pair[1]), 1);
    }
    CHECK_EQ(frame_in_payload(&in, pair[1], payload), 1);
    CHECK_BYTES(payload, "hello", 5);
    close(pair[0]);
    frame_in_init(&in);
    CHECK_EQ(frame_in_head(&in, pair[1]), PHR_E_CLOSED);
    close(pair[1]);
}

TEST(frame__goes_out_in_pieces_when_the_socket_is_small)
{
    enum { BYTES = 1024 * 1024 };
    uint8_t *payload = calloc(1, BYTES);
    uint8_t *got = calloc(1, BYTES);
    struct frame_head head = head_of(BYTES);
    struct frame_out out;
    struct frame_in in;
    int pair[2];
    int rc = 0;
    int rounds = 0;

    UNUSED_STATE;
    CHECK(payload && got);
    for (size_t i = 0; i < BYTES; i++)
        payload[i] = (uint8_t)(i * 31 + (i >> 8));
    make_pair(pair);
    frame_out_init(&out, &head, view_of(payload, BYTES), -1);
    frame_in_init(&in);
    while (rc == 0) {
        int sent = frame_out_write(&out, pair[0]);

        CHECK(sent >= 0);
        rc = in.head_at < FRAME_HEAD_BYTES ? frame_in_head(&in, pair[1]) : 1;
        CHECK(rc >= 0);
        rc = frame_in_payload(&in, pair[1], got);
        CHECK(rc >= 0);
        rounds++;
    }
    CHECK(rounds > 1);
    CHECK_BYTES(got, payload, BYTES);
    close(pair[0]);
    close(pair[1]);
    free(payload);
    free(got);
}

static int count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void send_fds(int sock, const int *fds, size_t n, const void *bytes, size_t len)
{
    char room[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
                          .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    CHECK_EQ(sendmsg(sock, &msg, 0), (ssize_t)len);
}

TEST(frame__carries_one_descriptor)
{
    struct frame_head head = head_of(0);
    struct frame_out out;
    struct frame_in in;
    struct stat a;
    struct stat b;
    int pair[2];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    UNUSED_STATE;
    make_pair(pair);
    frame_out_init(&out, &head, view_of(NULL, 0), null);
    CHECK_EQ(frame_out_write(&out, pair[0]), 1);
    frame_in_init(&in);
    CHECK_EQ(frame_in_head(&in, pair[1]), 1);
    CHECK(in.fd >= 0);
    CHECK(fcntl(in.fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(fstat(in.fd, &a) + fstat(null, &b), 0);
    CHECK(a.st_rdev == b.st_rdev);
    frame_in_fini(&in);
    close(null);
    close(pair[0]);
    close(pair[1]);
}

TEST(frame__closes_descriptors_when_there_are_too_many_or_in_the_wrong_place)
{
    struct frame_head head = head_of(4);
    struct frame_in in;
    uint8_t wire[FRAME_HEAD_BYTES + 4] = { 0 };
    uint8_t payload[4];
    int pair[2];
    int before;
    int many[6];

    UNUSED_STATE;
    make_pair(pair);
    frame_head_encode(&head, wire);
    for (size_t i = 0; i < 6; i++)
        many[i] = pair[0];
    before = count_fds();

    for (size_t n = 2; n <= 6; n += 2) { /* few enough for our room, and cut off by it */
        frame_in_init(&in);
        send_fds(pair[0], many, n, wire, sizeof wire);
        CHECK_EQ(frame_in_head(&in, pair[1]), PHR_E_PROTOCOL);
        frame_in_fini(&in);
        CHECK_EQ(recv(pair[1], wire, 4, 0), 4);
        CHECK_EQ(count_fds(), before);
        frame_head_encode(&head, wire);
    }

    frame_in_init(&in); /* in the middle of a head */
    CHECK_EQ(write(pair[0], wire, 3), 3);
    CHECK_EQ(frame_in_head(&in, pair[1]), 0);
    send_fds(pair[0], many, 1, wire + 3, FRAME_HEAD_BYTES - 3);
    CHECK_EQ(frame_in_head(&in, pair[1]), PHR_E_PROTOCOL);
    frame_in_fini(&in);
    CHECK_EQ(count_fds(), before);

    frame_in_init(&in); /* in a payload */
    CHECK_EQ(write(pair[0], wire, FRAME_HEAD_BYTES), FRAME_HEAD_BYTES);
    send_fds(pair[0], many, 1, wire, 4);
    CHECK_EQ(frame_in_head(&in, pair[1]), 1);
    CHECK_EQ(frame_in_payload(&in, pair[1], payload), 1);
    frame_in_fini(&in);
    CHECK_EQ(count_fds(), before);
    close(pair[0]);
    close(pair[1]);
}

TEST(hello__is_refused_when_version_role_host_or_length_are_wrong)
{
    struct hello in = { .role = IPC_ROLE_MOUNT, .host = { { 1 } }, .lease_s = 300 };
    struct hello out;
    uint8_t bytes[HELLO_BYTES + 1] = { 0 };

    UNUSED_STATE;
    hello_encode(&in, bytes);
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES), &out), 0);
    CHECK_EQ(out.role, IPC_ROLE_MOUNT);
    CHECK(out.lease_s == 300);
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES + 1), &out), PHR_E_PROTOCOL);
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES - 1), &out), PHR_E_PROTOCOL);
    bytes[0]++;
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES), &out), PHR_E_PROTOCOL);
    bytes[0]--;
    bytes[2] = 0;
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES), &out), PHR_E_PROTOCOL);
    bytes[2] = IPC_ROLE_MOUNT;
    bytes[3] = 0;
    CHECK_EQ(hello_decode(view_of(bytes, HELLO_BYTES), &out), PHR_E_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(frame__head_is_the_same_after_a_round_trip),
        UNIT(frame__head_is_refused_when_too_long_or_reserved_is_set),
        UNIT(frame__arrives_whole_when_it_comes_byte_by_byte),
        UNIT(frame__goes_out_in_pieces_when_the_socket_is_small),
        UNIT(frame__carries_one_descriptor),
        UNIT(frame__closes_descriptors_when_there_are_too_many_or_in_the_wrong_place),
        UNIT(hello__is_refused_when_version_role_host_or_length_are_wrong),
    };

    return RUN_TESTS(tests);
}
