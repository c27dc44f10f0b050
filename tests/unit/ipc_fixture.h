/* A server with a handful of messages, on a thread of its own, in a directory of its own. */
#ifndef PHR_TESTS_UNIT_IPC_FIXTURE_H
#define PHR_TESTS_UNIT_IPC_FIXTURE_H

#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "ipc/caller.h"
#include "ipc/dial.h"
#include "ipc/hello.h"
#include "ipc/server.h"

struct fixture {
    char dir[32];
    char path[64];
    struct server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    struct request *held[64]; /* lock; MSG_PROVE is not answered until somebody does */
    size_t held_count;        /* lock */
    atomic_int closed_count;
    atomic_bool drop_hello;
};

static void fixture_on_hello(void *user, struct request *req, struct view payload)
{
    struct fixture *f = user;
    struct hello hello;
    struct hello_reply reply = { .host = { { 9 } }, .srs_card = { { 8 } }, .time_s = 7 };
    uint8_t bytes[HELLO_REPLY_BYTES];
    int rc = atomic_load(&f->drop_hello) ? PHR_E_PROTOCOL : hello_decode(payload, &hello);

    if (rc == 0)
        request_set_role(req, hello.role, &hello.host);
    hello_reply_encode(&reply, bytes);
    request_reply(req, rc, view_of(bytes, rc == 0 ? sizeof bytes : 0));
}

/* Echo, from the server's own thread. */
static void fixture_on_status(void *user, struct request *req, struct view payload)
{
    (void)user;
    request_reply(req, 0, payload);
}

static void fixture_on_prove(void *user, struct request *req, struct view payload)
{
    struct fixture *f = user;

    (void)payload;
    pthread_mutex_lock(&f->lock);
    if (f->held_count < 64) {
        f->held[f->held_count++] = req;
        req = NULL;
    }
    pthread_mutex_unlock(&f->lock);
    if (req)
        request_reply(req, -EAGAIN, view_of(NULL, 0));
}

/* Says the size of the file that came along. */
static void fixture_on_object(void *user, struct request *req, struct view payload)
{
    int fd = request_take_fd(req);
    struct stat st = { 0 };
    uint8_t bytes[8];

    (void)user;
    (void)payload;
    if (fd < 0 || fstat(fd, &st) < 0) {
        request_reply(req, -EBADF, view_of(NULL, 0));
        return;
    }
    close(fd);
    put_le64(bytes, (uint64_t)st.st_size);
    request_reply(req, 0, view_of(bytes, 8));
}

static void fixture_on_close(void *user, const struct peer *peer)
{
    struct fixture *f = user;

    (void)peer;
    atomic_fetch_add(&f->closed_count, 1);
}

static const struct rule fixture_rules[] = {
    { MSG_HELLO, 1u << IPC_ROLE_NONE, HELLO_BYTES, 0, false, fixture_on_hello },
    { MSG_STATUS, ~0u, IPC_PAYLOAD_BYTES_MAX, 0, false, fixture_on_status },
    { MSG_LOGIN, 1u << IPC_ROLE_NONE, 4096, 0, true, fixture_on_status },
    { MSG_PROVE, 1u << IPC_ROLE_MOUNT | 1u << IPC_ROLE_TOOL, 64, 0, false, fixture_on_prove },
    { MSG_OBJECT_PUT, 1u << IPC_ROLE_MOUNT, 64, 1, false, fixture_on_object },
};

static void *fixture_run(void *arg)
{
    struct fixture *f = arg;

    ignored(server_run(f->server)); /* the tests see what it did */
    return NULL;
}

static void fixture_start(struct fixture *f)
{
    struct server_opts opts = { .socket_path = f->path, .socket_mode = 0600,
                                .rules = fixture_rules, .user = f,
                                .on_close = fixture_on_close, .connections_max = 16,
                                .in_flight_max = 8 };

    opts.rule_count = sizeof fixture_rules / sizeof fixture_rules[0];
    CHECK_EQ(server_open(&opts, &f->server), 0);
    CHECK_EQ(pthread_create(&f->thread, NULL, fixture_run, f), 0);
}

static void fixture_stop(struct fixture *f)
{
    server_stop(f->server);
    pthread_join(f->thread, NULL);
    server_close(f->server);
    f->server = NULL;
}

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    memcpy(f->dir, "/tmp/phr-ipc-XXXXXX", sizeof "/tmp/phr-ipc-XXXXXX");
    CHECK(mkdtemp(f->dir) != NULL);
    snprintf(f->path, sizeof f->path, "%s/s", f->dir);
    pthread_mutex_init(&f->lock, NULL);
    fixture_start(f);
}

static struct request *fixture_take_held(struct fixture *f)
{
    struct request *r = NULL;

    for (int i = 0; i < 500 && !r; i++) {
        pthread_mutex_lock(&f->lock);
        if (f->held_count > 0)
            r = f->held[--f->held_count];
        pthread_mutex_unlock(&f->lock);
        if (!r)
            poll(NULL, 0, 10);
    }
    CHECK(r != NULL);
    return r;
}

static void fixture_fini(struct fixture *f)
{
    if (f->server)
        fixture_stop(f);
    pthread_mutex_destroy(&f->lock);
    CHECK(access(f->path, F_OK) < 0);
    CHECK_EQ(rmdir(f->dir), 0);
}

/* Waits, at most five seconds, until what is asked for holds. */
#define CHECK_SOON(x)                                                                      \
    do {                                                                                   \
        for (int soon_ = 0; soon_ < 500 && !(x); soon_++)                                  \
            poll(NULL, 0, 10);                                                             \
        CHECK(x);                                                                          \
    } while (0)

#endif
