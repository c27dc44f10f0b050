/* Bytes of a hostile peer: the head alone, and a stream of frames through a socket. */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "ipc/frame.h"
#include "ipc/hello.h"

enum { STREAM_BYTES_MAX = 64 * 1024 };

static void head_alone(const uint8_t *data, size_t size)
{
    uint8_t again[FRAME_HEAD_BYTES];
    struct frame_head h;

    if (size < FRAME_HEAD_BYTES || frame_head_decode(data, &h) < 0)
        return;
    frame_head_encode(&h, again);
    fuzz_expect_same(view_of(data, FRAME_HEAD_BYTES), view_of(again, sizeof again), 0);
}

static void greeting(const uint8_t *data, size_t size)
{
    uint8_t again[HELLO_BYTES];
    uint8_t reply_again[HELLO_REPLY_BYTES];
    struct hello h;
    struct hello_reply r;

    if (hello_decode(view_of(data, size), &h) == 0) {
        hello_encode(&h, again);
        fuzz_expect_same(view_of(data, size), view_of(again, sizeof again), 0);
    }
    if (hello_reply_decode(view_of(data, size), &r) == 0) {
        hello_reply_encode(&r, reply_again);
        fuzz_expect_same(view_of(data, size), view_of(reply_again, sizeof reply_again), 0);
    }
}

static void stream(const uint8_t *data, size_t size)
{
    static uint8_t payload[IPC_PAYLOAD_BYTES_MAX]; /* of the heap it would cost 20 ms each time */
    struct frame_in in;
    int pair[2];
    int rc = 1;

    INVARIANT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    if (size > STREAM_BYTES_MAX)
        size = STREAM_BYTES_MAX;
    INVARIANT(size == 0 || send(pair[0], data, size, MSG_DONTWAIT) == (ssize_t)size);
    close(pair[0]);
    while (rc == 1) {
        frame_in_init(&in);
        rc = frame_in_head(&in, pair[1]);
        if (rc == 1)
            rc = frame_in_payload(&in, pair[1], in.head.id % 2 ? payload : NULL);
        frame_in_fini(&in);
    }
    INVARIANT(rc < 0); /* the end always comes */
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    head_alone(data, size);
    greeting(data, size);
    stream(data, size);
    return 0;
}
