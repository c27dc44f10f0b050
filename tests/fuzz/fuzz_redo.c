/*
 * The redo log of namespace.db. Its records carry a salted digest that random bytes never get past, so
 * the input is a row of records, each `flags || LE16 n || n bytes of payload`, which this frames as
 * redo_send does; or, with a first byte that says so, the bytes of the file as they are.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "crypto/digest.h"
#include "vault/nsdb_redo.h"

enum { DB_ID = 7, CHECK_AT = 12, CHECK_BYTES = 16, HEAD_BYTES = CHECK_AT + CHECK_BYTES, BOOT_ID_BYTES = 36 };
enum lead { LEAD_RAW = 1 << 0, LEAD_FAIL = 1 << 1, LEAD_HAS_SOME = 1 << 2 };
enum record_flags { RECORD_BAD = 1 << 0, RECORD_GAP = 1 << 1, RECORD_AGAIN = 1 << 2, RECORD_LONG = 1 << 3 };
enum { SQL_BYTES_MAX = 4096, PARAM_OVERHEAD = 5, FIRST = 3 };

static char path[64];
static uint8_t salt[CHECK_BYTES];

struct seen {
    size_t calls_left; /* then it fails, as a full disk would */
    uint64_t begun;    /* records */
    size_t bytes;      /* of values in this record */
    const uint8_t *at; /* behind the last value */
    bool has_ended;
};

/* What redo_run is promised. */
static int on_run(void *user, const char *sql, const struct redo_param *params, size_t count)
{
    struct seen *s = user;
    volatile uint8_t sum = 0;

    INVARIANT(!s->has_ended);
    if (s->calls_left-- == 0) {
        s->has_ended = true;
        return -ENOSPC;
    }
    if (!sql) {
        INVARIANT(!params && count == 0);
        s->begun++;
        s->bytes = 0;
        s->at = NULL;
        return 0;
    }
    INVARIANT(s->begun > 0 && strlen(sql) <= SQL_BYTES_MAX && count <= REDO_PARAMS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct redo_param *p = &params[i];

        INVARIANT(p->type <= REDO_TEXT);
        if (p->type == REDO_NULL || p->type == REDO_NUMBER)
            continue;
        INVARIANT(p->n <= UINT16_MAX && (p->p || p->n == 0));
        INVARIANT(!s->at || p->p >= s->at); /* one behind the other in one record */
        for (uint64_t b = 0; b < p->n; b++)
            sum = (uint8_t)(sum + p->p[b]); /* sanitizers see where it lies */
        s->at = p->p + p->n;
        s->bytes += p->n + PARAM_OVERHEAD;
        INVARIANT(s->bytes <= UINT16_MAX);
    }
    return 0;
}

static void put_record(struct writer *w, uint8_t flags, uint64_t number, struct view payload)
{
    size_t at = w->n;
    struct digest d;

    writer_u32(w, (uint32_t)payload.n + (flags & RECORD_LONG ? 1 : 0));
    writer_u64(w, number);
    writer_bytes(w, salt, sizeof salt);
    writer_view(w, payload);
    INVARIANT(writer_ok(w));
    d = digest_sha256(view_of(w->p + at, w->n - at));
    memcpy(w->p + at + CHECK_AT, d.b, CHECK_BYTES);
    if (flags & RECORD_BAD)
        w->p[at + CHECK_AT] ^= 1;
}

/* *out_last: the number of the last record of an unbroken row. */
static void put_records(struct reader *r, struct writer *w, uint64_t *out_last)
{
    uint64_t number = FIRST;
    bool is_broken = false;

    *out_last = 0;
    while (r->left >= 3) {
        uint8_t flags = reader_u8(r);
        uint16_t n = reader_u16(r);
        struct view payload = reader_view(r, n < r->left ? n : r->left);

        if (flags & RECORD_GAP)
            number++;
        if (flags & RECORD_AGAIN && number > FIRST)
            number--;
        put_record(w, flags, number, payload);
        is_broken |= (flags & (RECORD_BAD | RECORD_GAP | RECORD_LONG)) != 0 || payload.n == 0;
        if (!is_broken)
            *out_last = number;
        number++;
    }
}

static void stop(void)
{
    unlink(path);
}

static void start(void)
{
    scoped(close_fd) int fd = -1;
    uint8_t both[BOOT_ID_BYTES + 8];
    struct digest d;

    if (path[0])
        return;
    snprintf(path, sizeof path, "%s/fuzz_redo.%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    atexit(stop);
    INVARIANT(fdio_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd) == 0);
    INVARIANT(fdio_pread_all(fd, both, BOOT_ID_BYTES, 0) == 0);
    put_le64(both + BOOT_ID_BYTES, DB_ID);
    d = digest_sha256(view_of(both, sizeof both));
    memcpy(salt, d.b, sizeof salt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer file = { 0 };
    scoped(redo_close) struct redo *redo = NULL;
    struct reader r = reader_over(view_of(data, size));
    uint8_t lead = reader_u8(&r);
    struct seen seen = { .calls_left = lead & LEAD_FAIL ? lead >> 3 : SIZE_MAX };
    uint64_t last = lead & LEAD_HAS_SOME ? FIRST : FIRST - 1;
    const uint64_t before = last;
    uint64_t whole = 0;
    int fd;
    int rc;

    start();
    writer_init(&file);
    if (lead & LEAD_RAW)
        writer_view(&file, view_of(r.p, r.left));
    else
        put_records(&r, &file, &whole);
    INVARIANT(redo_open(path, DB_ID, &redo) == 0);
    INVARIANT(fdio_open(AT_FDCWD, path, O_WRONLY | O_TRUNC, 0, &fd) == 0);
    INVARIANT(fdio_pwrite_all(fd, file.p, file.n, 0) == 0);
    close(fd);
    rc = redo_replay(redo, on_run, &seen, &last);
    INVARIANT(last >= before && last <= before + seen.begun && !(rc == 0 && seen.has_ended));
    INVARIANT(rc == 0 || rc == PHR_E_FORMAT || (rc == -ENOSPC && seen.has_ended));
    INVARIANT(rc != 0 || lead & LEAD_RAW || last >= whole); /* what is whole is run */
    return 0;
}
