/*
 * A change of a row costs SQLite every page that it touches, some twenty for an unlink, and each
 * commit writes them all. So a transaction is acknowledged when its statements are in this log, a
 * write of one or two KiB, and SQLite commits those of a tenth of a second at once.
 *
 * REDO-1  A record is in the kernel before redo_send answers: it survives kill -9. A record that
 *         was not written whole ends the log: what it is about was never acknowledged.
 * REDO-2  Records are numbered without gaps, and the database holds the number of the last that it
 *         contains, committed together with it. So each is run once, whenever the kill comes, and
 *         what is left of an earlier round behind the present end is never taken for its next.
 * REDO-3  The log is never synced, and is of one boot and one database: after a power cut the database counts alone,
 *         as it was synced last. Both's ids salt the digest of each record.
 *
 * REDO-4  A record that is whole and cannot be run at a start (another version wrote it, or the database
 *         is not what it was) is not thrown away, nor is what lies behind it, which was made on top of it:
 *         the log is kept aside, and said to be (nsdb_commit.c).
 *
 *   record: LE32 payload bytes || LE64 number || 16 bytes of SHA-256 over the record with the log's
 *   salt in their place || payload: each 'D' LE16 id LP(sql), or 'R' LE16 id U8 count (U8 type value)*
 */
#include "vault/nsdb_redo.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "crypto/digest.h"

enum {
    CHECK_AT = 4 + 8,
    CHECK_BYTES = 16,
    HEAD_BYTES = CHECK_AT + CHECK_BYTES,
    NOTED_BYTES_MAX = 512 * 1024, /* of one record; a longer transaction is committed */
    NAMES_MAX = 512,              /* statements of one round */
    SQL_BYTES_MAX = 4096,
    FILE_BYTES_TAKEN_MAX = 8 * REDO_LOG_BYTES_MAX, /* what is behind was never written by us */
    BOOT_ID_BYTES = 36
};

struct redo {
    char path[PATH_MAX];
    int fd;
    uint8_t salt[CHECK_BYTES];
    struct writer noted; /* HEAD_BYTES of room first */
    uint64_t at;         /* where the next record goes */
    uint64_t last;
    uint64_t turn; /* names of earlier turns are not in the log */
    uint16_t next_id;
    bool is_broken; /* something is missing in it: only a commit helps */
};

static void reset_noted(struct redo *r)
{
    r->noted.n = 0;
    writer_zeros(&r->noted, HEAD_BYTES);
}

static int make_salt(struct redo *r, uint64_t db_id)
{
    scoped(close_fd) int fd = -1;
    uint8_t both[BOOT_ID_BYTES + 8];
    struct digest d;
    int rc = fdio_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd);

    if (rc == 0)
        rc = fdio_pread_all(fd, both, BOOT_ID_BYTES, 0);
    if (rc < 0)
        return rc;
    put_le64(both + BOOT_ID_BYTES, db_id);
    d = digest_sha256(view_of(both, sizeof both));
    memcpy(r->salt, d.b, sizeof r->salt);
    return 0;
}

int redo_open(const char *path, uint64_t db_id, struct redo **out_redo)
{
    scoped(redo_close) struct redo *r = calloc(1, sizeof *r);
    int rc;

    if (!r)
        return -ENOMEM;
    if (snprintf(r->path, sizeof r->path, "%s", path) >= (int)sizeof r->path)
        return PHR_E_LIMIT;
    r->fd = -1;
    r->turn = 1;
    writer_init(&r->noted);
    reset_noted(r);
    rc = make_salt(r, db_id);
    if (rc == 0)
        rc = fdio_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600, &r->fd);
    if (rc < 0)
        return rc;
    *out_redo = give(r);
    return 0;
}

void redo_close(struct redo *r)
{
    if (!r)
        return;
    close_fd_scope(&r->fd);
    writer_fini(&r->noted);
    free(r);
}

/* ---- kept aside ---- */

static int kept_path(const struct redo *r, unsigned no, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s-kept-%u", r->path, no) >= PATH_MAX ? PHR_E_LIMIT : 0;
}

static int sync_folder(const struct redo *r)
{
    scoped(close_fd) int fd = -1;
    char dir[PATH_MAX];
    char *slash;
    int rc;

    memcpy(dir, r->path, sizeof dir);
    slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    rc = fdio_open(AT_FDCWD, slash ? dir : ".", O_RDONLY | O_DIRECTORY, 0, &fd);
    return rc < 0 ? rc : fdio_fsync_dir(fd);
}

int redo_keep_aside(struct redo *r)
{
    char kept[PATH_MAX];
    int rc = fdatasync(r->fd) < 0 ? -errno : -EEXIST;

    for (unsigned no = 1; no <= REDO_KEPT_MAX && rc == -EEXIST; no++) {
        rc = kept_path(r, no, kept);
        if (rc == 0 && renameat2(AT_FDCWD, r->path, AT_FDCWD, kept, RENAME_NOREPLACE) < 0)
            rc = -errno;
    }
    if (rc < 0)
        return rc == -EEXIST ? PHR_E_LIMIT : rc;
    close_fd_scope(&r->fd);
    r->fd = -1;
    rc = fdio_open(AT_FDCWD, r->path, O_RDWR | O_CREAT | O_EXCL, 0600, &r->fd);
    return rc < 0 ? rc : sync_folder(r);
}

unsigned redo_count_kept(const struct redo *r)
{
    char kept[PATH_MAX];
    unsigned n = 0;

    for (unsigned no = 1; no <= REDO_KEPT_MAX; no++)
        n += kept_path(r, no, kept) == 0 && access(kept, F_OK) == 0;
    return n;
}

static void seal_record(const struct redo *r, uint8_t *record, size_t n, uint64_t number)
{
    struct digest d;

    put_le32(record, (uint32_t)(n - HEAD_BYTES));
    put_le64(record + 4, number);
    memcpy(record + CHECK_AT, r->salt, CHECK_BYTES);
    d = digest_sha256(view_of(record, n));
    memcpy(record + CHECK_AT, d.b, CHECK_BYTES);
}

/* ---- writing ---- */

void redo_note(struct redo *r, struct redo_name *name, const char *sql, const struct redo_param *params,
               size_t count)
{
    struct writer *w = &r->noted;

    if (r->is_broken)
        return;
    if (count > REDO_PARAMS_MAX || w->n > NOTED_BYTES_MAX ||
        (name->turn != r->turn && r->next_id >= NAMES_MAX)) {
        r->is_broken = true;
        return;
    }
    if (name->turn != r->turn) {
        name->turn = r->turn;
        name->id = r->next_id++;
        writer_u8(w, 'D');
        writer_u16(w, name->id);
        writer_lp(w, view_text(sql));
    }
    writer_u8(w, 'R');
    writer_u16(w, name->id);
    writer_u8(w, (uint8_t)count);
    for (size_t i = 0; i < count; i++) {
        writer_u8(w, (uint8_t)params[i].type);
        if (params[i].type == REDO_NUMBER)
            writer_u64(w, params[i].n);
        else if (params[i].type != REDO_NULL)
            writer_lp(w, view_of(params[i].p, params[i].n));
    }
    if (!writer_ok(w))
        r->is_broken = true;
}

size_t redo_mark(const struct redo *r)
{
    return r->noted.n;
}

void redo_undo(struct redo *r, size_t mark)
{
    r->is_broken = !writer_ok(&r->noted);
    if (r->noted.n == mark)
        return;
    r->noted.n = mark;
    r->turn++; /* names may be gone with it */
}

bool redo_has_unsent(const struct redo *r)
{
    return r->is_broken || r->noted.n > HEAD_BYTES;
}

int redo_send(struct redo *r)
{
    int rc;

    if (r->is_broken)
        return PHR_E_LIMIT;
    if (r->noted.n <= HEAD_BYTES)
        return 0;
    seal_record(r, r->noted.p, r->noted.n, r->last + 1);
    rc = fdio_pwrite_all(r->fd, r->noted.p, r->noted.n, r->at);
    if (rc < 0) {
        r->is_broken = true;
        return rc;
    }
    r->last++;
    r->at += r->noted.n;
    reset_noted(r);
    return 0;
}

uint64_t redo_last(const struct redo *r)
{
    return r->last;
}

bool redo_is_full(const struct redo *r)
{
    return r->is_broken || r->at >= REDO_LOG_BYTES_MAX;
}

void redo_drop_unsent(struct redo *r)
{
    reset_noted(r);
    r->turn++;
    r->is_broken = !writer_ok(&r->noted);
}

void redo_restart(struct redo *r, uint64_t last)
{
    r->last = last;
    r->at = 0;
    r->next_id = 0;
    redo_drop_unsent(r);
}

/* ---- reading ---- */

struct replay {
    char *names[NAMES_MAX];
    redo_run *run;
    void *user;
};

static int take_name(struct replay *p, struct reader *r)
{
    uint16_t id = reader_u16(r);
    struct view sql = reader_lp(r, SQL_BYTES_MAX);

    if (!reader_ok(r) || id >= NAMES_MAX)
        return PHR_E_FORMAT;
    free(p->names[id]);
    p->names[id] = strndup((const char *)sql.p, sql.n);
    return p->names[id] ? 0 : -ENOMEM;
}

static int take_statement(struct replay *p, struct reader *r)
{
    struct redo_param params[REDO_PARAMS_MAX] = { 0 };
    uint16_t id = reader_u16(r);
    uint8_t count = reader_u8(r);

    if (!reader_ok(r) || id >= NAMES_MAX || !p->names[id] || count > REDO_PARAMS_MAX)
        return PHR_E_FORMAT;
    for (uint8_t i = 0; i < count; i++) {
        params[i].type = (enum redo_type)reader_u8(r);
        if (params[i].type == REDO_NUMBER) {
            params[i].n = reader_u64(r);
        } else if (params[i].type == REDO_BLOB || params[i].type == REDO_TEXT) {
            struct view bytes = reader_lp(r, REDO_LOG_BYTES_MAX);

            params[i].p = bytes.p;
            params[i].n = bytes.n;
        } else if (params[i].type != REDO_NULL) {
            return PHR_E_FORMAT;
        }
    }
    return reader_ok(r) ? p->run(p->user, p->names[id], params, count) : PHR_E_FORMAT;
}

static int take_record(struct replay *p, struct view payload)
{
    struct reader r = reader_over(payload);
    int rc = p->run(p->user, NULL, NULL, 0);

    while (rc == 0 && r.left > 0) {
        uint8_t what = reader_u8(&r);

        rc = what == 'D' ? take_name(p, &r) : what == 'R' ? take_statement(p, &r) : PHR_E_FORMAT;
    }
    return rc;
}

static bool is_whole(const struct redo *r, uint8_t *record, size_t n)
{
    uint8_t said[CHECK_BYTES];
    struct digest d;

    memcpy(said, record + CHECK_AT, CHECK_BYTES);
    memcpy(record + CHECK_AT, r->salt, CHECK_BYTES);
    d = digest_sha256(view_of(record, n));
    return memcmp(said, d.b, CHECK_BYTES) == 0;
}

static int replay_all(struct redo *r, struct replay *p, uint8_t *bytes, size_t n, uint64_t *io_last)
{
    size_t at = 0;
    int rc = 0;

    while (rc == 0 && n - at > HEAD_BYTES) {
        size_t len = get_le32(bytes + at);
        uint64_t number = get_le64(bytes + at + 4);

        if (len > n - at - HEAD_BYTES || !is_whole(r, bytes + at, HEAD_BYTES + len))
            break;
        if (number > *io_last) {
            if (number != *io_last + 1)
                break; /* REDO-2 */
            rc = take_record(p, view_of(bytes + at + HEAD_BYTES, len));
            if (rc == 0)
                *io_last = number;
        }
        at += HEAD_BYTES + len;
    }
    return rc;
}

int redo_replay(struct redo *r, redo_run *run, void *user, uint64_t *io_last)
{
    scoped(free) uint8_t *bytes = NULL;
    struct replay p = { .run = run, .user = user };
    off_t size = lseek(r->fd, 0, SEEK_END);
    int rc;

    if (size <= HEAD_BYTES)
        return size < 0 ? -errno : 0;
    if (size > FILE_BYTES_TAKEN_MAX)
        size = FILE_BYTES_TAKEN_MAX;
    bytes = malloc((size_t)size);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(r->fd, bytes, (size_t)size, 0);
    if (rc == 0)
        rc = replay_all(r, &p, bytes, (size_t)size, io_last);
    for (size_t i = 0; i < NAMES_MAX; i++)
        free(p.names[i]);
    return rc;
}
