/*
 * fuzz_posix EXT4_DIR MOUNT_DIR --seed N (--ops N | --list FILE) [--every N] [--events]
 *
 * With --events it says "EVENT REMOUNT|KILL|DROP" and waits for a line: test_fuzz.py does those.
 * Exit 0: no difference; 1: a difference, the operation's number in the last line.
 */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 30000, SIDES = 2 };

static struct {
    const char *dir[SIDES]; /* ext4, mount */
    uint64_t seed, ops, every;
    const char *list;
    bool has_events;
    int sock[SIDES][FUZZ_WORKERS];
    pid_t pid[SIDES][FUZZ_WORKERS];
    uint64_t succeeded;
} run;

static void start_workers(void);
static void stop_workers(void);
static bool step(const struct fuzz_op *op);

static void parse(int argc, char *argv[])
{
    run.every = 2500;
    run.ops = 1000;
    if (argc < 3)
        exit(2);
    run.dir[0] = argv[1];
    run.dir[1] = argv[2];
    for (int i = 3; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--seed") == 0)
            run.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--ops") == 0)
            run.ops = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--every") == 0)
            run.every = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--list") == 0)
            run.list = value;
        else if (strcmp(argv[i], "--events") == 0)
            run.has_events = true;
    }
}

/* fuzz_posix --describe SEED EVERY NUMBER… */
static int describe(int argc, char *argv[])
{
    struct fuzz_op op;

    for (int i = 4; i < argc; i++) {
        fuzz_make_op(strtoull(argv[2], NULL, 10), strtoull(argv[i], NULL, 10),
                     strtoull(argv[3], NULL, 10), &op);
        fuzz_print_op(&op);
    }
    return 0;
}

int main(int argc, char *argv[])
{
    FILE *list = NULL;
    struct fuzz_op op;
    char line[64];
    bool good = true;

    if (argc > 3 && strcmp(argv[1], "--describe") == 0)
        return describe(argc, argv);
    parse(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (run.list && !(list = fopen(run.list, "re"))) {
        perror(run.list);
        return 2;
    }
    start_workers();
    for (uint64_t i = 0; good && (list || i < run.ops); i++) {
        uint64_t number = i;

        if (list) {
            if (!fgets(line, sizeof line, list))
                break;
            number = strtoull(line, NULL, 10);
        }
        fuzz_make_op(run.seed, number, run.every, &op);
        good = step(&op);
    }
    if (good) {
        op = (struct fuzz_op){ .kind = FUZZ_COMPARE, .id = run.ops };
        good = step(&op);
    }
    stop_workers();
    if (good)
        printf("no difference, %" PRIu64 " operations of %" PRIu64 " succeeded\n",
               run.succeeded, run.ops);
    return good ? 0 : 1;
}

static void start_worker(int side, unsigned w)
{
    int ends[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        exit(2);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        for (int s = 0; s < SIDES; s++)
            for (unsigned i = 0; i < FUZZ_WORKERS; i++)
                if (run.sock[s][i] > 0)
                    close(run.sock[s][i]);
        close(ends[0]);
        fuzz_work(ends[1], run.dir[side], w);
    }
    close(ends[1]);
    run.sock[side][w] = ends[0];
    run.pid[side][w] = pid;
}

static void start_workers(void)
{
    for (int side = 0; side < SIDES; side++)
        for (unsigned w = 0; w < FUZZ_WORKERS; w++)
            start_worker(side, w);
}

static void stop_workers(void)
{
    for (int side = 0; side < SIDES; side++)
        for (unsigned w = 0; w < FUZZ_WORKERS; w++) {
            close(run.sock[side][w]);
            run.sock[side][w] = 0;
            waitpid(run.pid[side][w], NULL, 0);
        }
    fuzz_history_clear();
}

/* The driver does it, and says when. */
static bool ask(const char *what)
{
    char line[64];

    printf("EVENT %s\n", what);
    fflush(stdout);
    return fgets(line, sizeof line, stdin) && strncmp(line, "OK", 2) == 0;
}

static void kill_workers(void)
{
    for (unsigned w = 0; w < FUZZ_WORKERS; w++) {
        for (int side = 0; side < SIDES; side++) {
            kill(run.pid[side][w], SIGKILL);
            close(run.sock[side][w]);
            run.sock[side][w] = 0;
            waitpid(run.pid[side][w], NULL, 0);
        }
    }
}

static bool event(const struct fuzz_op *op)
{
    enum fuzz_tree how = FUZZ_TREE_EQUAL;
    bool good = true;

    if (!run.has_events && op->kind != FUZZ_COMPARE)
        return true;
    if (op->kind == FUZZ_REMOUNT) {
        stop_workers();
        good = ask("REMOUNT");
    } else if (op->kind == FUZZ_KILL) {
        usleep(30000); /* what may ride in a transaction for 5 ms is committed */
        good = ask("KILL");
        kill_workers();
        good = good && ask("MOUNT");
        how = FUZZ_TREE_AFTER_KILL;
    } else if (op->kind == FUZZ_DROP) {
        good = ask("DROP");
    }
    if (!good || fuzz_tree_compare(run.dir[0], run.dir[1], how) > 0) {
        printf("DIFFERENCE at %" PRIu64 " after %s\n", op->id, fuzz_kind_name(op->kind));
        return false;
    }
    if (op->kind == FUZZ_KILL)
        fuzz_history_clear();
    if (op->kind == FUZZ_KILL || op->kind == FUZZ_REMOUNT)
        start_workers();
    return true;
}

static bool receive(int side, const struct fuzz_op *op, struct fuzz_result *out)
{
    struct pollfd p = { .fd = run.sock[side][op->worker], .events = POLLIN };

    if (poll(&p, 1, ANSWER_MS) == 1 &&
        recv(p.fd, out, sizeof *out, 0) == (ssize_t)sizeof *out)
        return true;
    printf("no answer from worker %u on %s\n", op->worker, side ? "the mount" : "ext4");
    return false;
}

static void print_seen(const struct fuzz_seen *s)
{
    printf(" [%s mode %o links %u of %u:%u size %" PRId64 " mtime %" PRId64 ".%09" PRId64
           "]",
           s->error ? strerrorname_np(s->error) : "", s->mode, s->links, s->uid, s->gid,
           s->size, s->mtime_s, s->mtime_ns);
}

static void print_result(const char *side, const struct fuzz_result *r)
{
    printf("  %-6s %" PRId64 " %s hash %016" PRIx64, side, r->value,
           r->error ? strerrorname_np(r->error) : "", r->hash);
    print_seen(&r->one);
    print_seen(&r->two);
    printf("\n");
}

static bool step(const struct fuzz_op *op)
{
    struct fuzz_result r[SIDES];

    if (fuzz_is_event(op->kind))
        return event(op);
    fuzz_history_before(run.dir[0], run.pid[0], op);
    for (int side = 0; side < SIDES; side++) {
        if (send(run.sock[side][op->worker], op, sizeof *op, 0) < 0) {
            printf("worker %u is gone: %s\n", op->worker, strerror(errno));
            printf("DIFFERENCE at %" PRIu64 "\n", op->id);
            return false;
        }
    }
    if (!receive(0, op, &r[0]) || !receive(1, op, &r[1])) {
        fuzz_print_op(op);
        printf("DIFFERENCE at %" PRIu64 "\n", op->id);
        return false;
    }
    fuzz_history_after(run.dir[0], run.pid[0], op, &r[0]);
    run.succeeded += r[0].error == 0;
    if (memcmp(&r[0], &r[1], sizeof r[0]) == 0)
        return true;
    fuzz_print_op(op);
    print_result("ext4", &r[0]);
    print_result("mount", &r[1]);
    printf("DIFFERENCE at %" PRIu64 "\n", op->id);
    return false;
}
