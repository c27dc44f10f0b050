/*
 * The audit spool: an append-only file per start (and per SPOOL_FILE_BYTES), a table beside it.
 *
 * SPOOL-1  An event is written before the reply that it is about: it survives kill -9.
 * SPOOL-2  It is fsynced within a second and before any fsync() answers; with audit=sync before
 *          the reply.
 * SPOOL-3  Each file, and each start's (or rolled back transaction's) part of the table, is a
 *          stream with a number that is never used again; in it records count from 0 and name
 *          the one before. The newest file therefore stays, also when the SRS has all of it.
 *
 * A record torn by a crash is cut at the next start: its reply was never sent.
 */
#include "vault/spool.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "vault/nsdb_outbox.h"
#include "vault/session.h"

enum {
    SPOOL_FILE_BYTES = 1024 * 1024,
    SPOOL_BUNDLE_BYTES = 256 * 1024,
    SPOOL_FILES_MAX = 4096,
    PROGRAM_CACHE = 64,
    PROGRAM_CACHE_MS = 1000
};

struct stream { /* a number space with its chain and its present key */
    uint64_t no;
    uint64_t n; /* of the next record */
    struct digest prev;
    struct symkey *key; /* arena; NULL until the first record */
};

struct spool {
    struct spool_opts opts;
    int dir_fd; /* vault/spool */

    pthread_mutex_t lock; /* leaf: all of the file spool */
    struct stream file;
    int fd;
    uint64_t end; /* bytes in the present file */
    bool is_unsynced;
    uint64_t oldest_no; /* worker */
    uint64_t acked_n;   /* worker: of the oldest file, the SRS has everything below, */
    uint64_t acked_at;  /* worker: which lies before this byte */
    uint64_t taken_n;   /* worker: behind the last that was taken from it, and its byte */
    uint64_t taken_at;

    struct stream table; /* names lock */

    pthread_mutex_t program_lock; /* leaf */
    struct {
        int32_t pid;
        uint64_t at_ms;
        char name[32];
    } programs[PROGRAM_CACHE];
};

static int scan_files(struct spool *s);
static int new_file(struct spool *s);

static void file_name(uint64_t no, char out[24])
{
    snprintf(out, 24, "%016llx", (unsigned long long)no);
}

int spool_open(const struct spool_opts *opts, struct spool **out_spool)
{
    struct spool *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->opts = *opts;
    s->dir_fd = -1;
    s->fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->program_lock, NULL);
    rc = 0;
    if (mkdirat(opts->dir_fd, "spool", 0700) == 0)
        rc = fdio_fsync_dir(opts->dir_fd); /* an fsync of a record would not bring it back */
    else if (errno != EEXIST)
        rc = -errno;
    if (rc == 0)
        rc = fdio_open_dir(opts->dir_fd, "spool", &s->dir_fd);
    if (rc == 0)
        rc = scan_files(s);
    if (rc < 0) {
        spool_close(s);
        return rc;
    }
    *out_spool = s;
    return 0;
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    ignored(spool_sync(s)); /* the last second is in the page cache; nobody is left to be told */
    secret_free(s->file.key);
    secret_free(s->table.key);
    close_fd_scope(&s->fd);
    close_fd_scope(&s->dir_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->program_lock);
    free(s);
}

/* Bytes of the header and all whole records. */
static size_t whole_bytes(struct view file)
{
    size_t at = SPOOL_HEADER_BYTES;

    while (file.n >= at + 12) {
        uint64_t len = (uint64_t)get_le32(file.p + at) + 4;

        if (len < SPOOL_RECORD_EXTRA_BYTES || len > file.n - at)
            break;
        at += (size_t)len;
    }
    return at;
}

static int load_file(struct spool *s, uint64_t no, uint8_t **out_p, size_t *out_n)
{
    char name[24];

    file_name(no, name);
    return fdio_load(s->dir_fd, name, 2 * SPOOL_FILE_BYTES, out_p, out_n);
}

static int list_files(struct spool *s, uint64_t *out_nos, size_t *out_count)
{
    int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    size_t n = 0;

    if (!dir) {
        close_fd_scope(&fd);
        return -errno;
    }
    while ((e = readdir(dir)) && n < SPOOL_FILES_MAX) {
        char *end;
        unsigned long long no = strtoull(e->d_name, &end, 16);

        if (strlen(e->d_name) != 16 || *end)
            continue;
        size_t at = n++;
        while (at > 0 && out_nos[at - 1] > no) {
            out_nos[at] = out_nos[at - 1];
            at--;
        }
        out_nos[at] = no;
    }
    closedir(dir);
    *out_count = n;
    return 0;
}

/* A torn tail is cut; a new file comes with the first event. */
static int cut_tail(struct spool *s, uint64_t no)
{
    scoped(free) uint8_t *bytes = NULL;
    scoped(close_fd) int fd = -1;
    char name[24];
    size_t whole;
    size_t n;
    int rc = load_file(s, no, &bytes, &n);

    if (rc < 0)
        return rc;
    whole = whole_bytes(view_of(bytes, n));
    if (whole >= n)
        return 0;
    file_name(no, name);
    rc = fdio_open(s->dir_fd, name, O_WRONLY, 0, &fd);
    if (rc == 0 && ftruncate(fd, (off_t)whole) < 0)
        rc = -errno;
    return rc;
}

static int scan_files(struct spool *s)
{
    scoped(free) uint64_t *nos = calloc(SPOOL_FILES_MAX, sizeof *nos);
    size_t count = 0;
    int rc;

    if (!nos)
        return -ENOMEM;
    rc = list_files(s, nos, &count);
    if (rc < 0)
        return rc;
    s->oldest_no = count ? nos[0] : 1;
    s->file.no = count ? nos[count - 1] : 0;
    return count ? cut_tail(s, nos[count - 1]) : 0;
}

static int new_key(struct stream *t)
{
    if (!t->key)
        t->key = secret_alloc(sizeof *t->key);
    if (!t->key)
        return -ENOMEM;
    random_fill(t->key, sizeof *t->key);
    return 0;
}

static int new_file(struct spool *s)
{
    uint8_t header[SPOOL_HEADER_BYTES];
    char name[24];
    int fd = -1;
    int rc = new_key(&s->file);

    if (rc < 0)
        return rc;
    rc = spool_header_encode(&s->opts.host, s->file.no + 1, &s->opts.srs, s->file.key, header);
    if (rc < 0)
        return rc;
    file_name(s->file.no + 1, name);
    rc = fdio_open(s->dir_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, &fd);
    if (rc < 0)
        return rc;
    rc = fdio_pwrite_all(fd, header, sizeof header, 0);
    if (rc == 0)
        rc = fdio_fsync_dir(s->dir_fd);
    if (rc < 0) {
        close_fd_scope(&fd);
        ignored(fdio_unlink(s->dir_fd, name)); /* empty; a later start skips it */
        return rc;
    }
    if (s->is_unsynced && s->fd >= 0 && fdatasync(s->fd) < 0) {
        close_fd_scope(&fd);
        return -errno;
    }
    close_fd_scope(&s->fd);
    s->fd = fd;
    s->file.no++;
    s->file.n = 0;
    memset(&s->file.prev, 0, sizeof s->file.prev);
    s->end = sizeof header;
    s->is_unsynced = true;
    return 0;
}

static int append(struct spool *s, struct view plain)
{
    scoped(writer_fini) struct writer record = { 0 };
    int rc = 0;

    if (s->fd < 0 || s->end >= SPOOL_FILE_BYTES)
        rc = new_file(s);
    if (rc < 0)
        return rc;
    writer_init(&record);
    rc = spool_record_seal(s->file.key, &s->opts.host, s->file.n, &s->file.prev, plain, &record);
    if (rc < 0)
        return rc;
    rc = fdio_pwrite_all(s->fd, record.p, record.n, s->end);
    if (rc < 0) {
        if (ftruncate(s->fd, (off_t)s->end) < 0)
            close_fd_scope(&s->fd); /* the next event starts a file of its own */
        return rc;
    }
    s->end += record.n;
    s->file.n++;
    s->file.prev = digest_sha256(writer_done(&record));
    s->is_unsynced = true;
    if (s->opts.is_sync) {
        if (fdatasync(s->fd) < 0)
            return -errno;
        s->is_unsynced = false;
    }
    return 0;
}

int spool_event(struct spool *s, const struct event *e)
{
    scoped(writer_fini) struct writer plain = { 0 };
    int rc;

    writer_init(&plain);
    rc = event_encode(e, &plain);
    if (rc < 0)
        return PHR_E_AUDIT;
    pthread_mutex_lock(&s->lock);
    rc = append(s, writer_done(&plain));
    pthread_mutex_unlock(&s->lock);
    return rc < 0 ? PHR_E_AUDIT : 0;
}

int spool_sync(struct spool *s)
{
    int rc = 0;
    int fd = -1;

    pthread_mutex_lock(&s->lock);
    if (s->is_unsynced && s->fd >= 0) {
        fd = dup(s->fd);
        s->is_unsynced = fd < 0;
    }
    pthread_mutex_unlock(&s->lock);
    if (fd < 0)
        return 0;
    if (fdatasync(fd) < 0) {
        rc = -errno;
        pthread_mutex_lock(&s->lock);
        s->is_unsynced = true;
        pthread_mutex_unlock(&s->lock);
    }
    close(fd);
    return rc;
}

static int new_table_stream(struct spool *s)
{
    uint8_t header[SPOOL_HEADER_BYTES];
    uint64_t k = 0;
    int rc = nsdb_meta_get_u64(s->opts.db, "audit_no", &k);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    rc = new_key(&s->table);
    if (rc < 0)
        return rc;
    s->table.no = SPOOL_NO_TABLE | (k + 1);
    s->table.n = 0;
    memset(&s->table.prev, 0, sizeof s->table.prev);
    rc = spool_header_encode(&s->opts.host, s->table.no, &s->opts.srs, s->table.key, header);
    if (rc == 0)
        rc = nsdb_audit_stream_put(s->opts.db, s->table.no, view_of(header, sizeof header));
    if (rc == 0)
        rc = nsdb_meta_put_u64(s->opts.db, "audit_no", k + 1);
    if (rc < 0) {
        secret_free(s->table.key);
        s->table.key = NULL;
    }
    return rc;
}

int spool_event_tx(struct spool *s, const struct event *e)
{
    scoped(writer_fini) struct writer plain = { 0 };
    scoped(writer_fini) struct writer record = { 0 };
    int rc = 0;

    INVARIANT(nsdb_is_in_tx(s->opts.db));
    writer_init(&plain);
    writer_init(&record);
    if (!s->table.key)
        rc = new_table_stream(s);
    if (rc == 0)
        rc = event_encode(e, &plain);
    if (rc == 0)
        rc = spool_record_seal(s->table.key, &s->opts.host, s->table.n, &s->table.prev,
                               writer_done(&plain), &record);
    if (rc == 0)
        rc = nsdb_audit_add(s->opts.db, s->table.no, s->table.n, writer_done(&record));
    if (rc < 0)
        return rc == -ENOSPC ? rc : PHR_E_AUDIT;
    s->table.n++;
    s->table.prev = digest_sha256(writer_done(&record));
    return 0;
}

void spool_undo_tx(struct spool *s)
{
    nsdb_lock(s->opts.db);
    secret_free(s->table.key); /* the next event starts a stream of its own */
    s->table.key = NULL;
    nsdb_unlock(s->opts.db);
}

static int bundle(struct writer *out, struct view header, uint64_t first, struct view records)
{
    writer_lp(out, header);
    writer_u64(out, first);
    writer_lp(out, records);
    return writer_ok(out) ? 0 : -ENOMEM;
}

/* The header, and records from byte `at` on: a round must not cost what earlier ones have sent. */
static int load_tail(struct spool *s, uint64_t no, uint64_t at, uint8_t **out_p, size_t *out_n)
{
    scoped(free) uint8_t *bytes = NULL;
    scoped(close_fd) int fd = -1;
    char name[24];
    struct stat st;
    size_t n;
    int rc;

    if (at <= SPOOL_HEADER_BYTES)
        return load_file(s, no, out_p, out_n);
    file_name(no, name);
    rc = fdio_open(s->dir_fd, name, O_RDONLY, 0, &fd);
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size < at || (uint64_t)st.st_size - at > SPOOL_FILE_BYTES)
        return PHR_E_FORMAT;
    n = (size_t)((uint64_t)st.st_size - at);
    bytes = malloc(SPOOL_HEADER_BYTES + n);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(fd, bytes, SPOOL_HEADER_BYTES, 0);
    if (rc == 0 && n > 0)
        rc = fdio_pread_all(fd, bytes + SPOOL_HEADER_BYTES, n, at);
    if (rc < 0)
        return rc;
    *out_n = SPOOL_HEADER_BYTES + n;
    *out_p = give(bytes);
    return 0;
}

/* Records of one file from number `from` on, at most SPOOL_BUNDLE_BYTES. *out_end: what is behind. */
static int take_from_file(struct view file, uint64_t from, struct writer *out,
                          uint64_t *out_first, uint32_t *out_count, size_t *out_end)
{
    size_t at = SPOOL_HEADER_BYTES;
    size_t start = 0;
    size_t end = 0;
    uint32_t count = 0;

    while (file.n >= at + 12) {
        uint64_t len = (uint64_t)get_le32(file.p + at) + 4;
        uint64_t n = get_le64(file.p + at + 4);

        if (len < SPOOL_RECORD_EXTRA_BYTES || len > file.n - at)
            break;
        if (n >= from) {
            if (count > 0 && at + len - start > SPOOL_BUNDLE_BYTES)
                break;
            if (count++ == 0) {
                start = at;
                *out_first = n;
            }
            end = at + (size_t)len;
        }
        at += (size_t)len;
    }
    *out_count = count;
    *out_end = end;
    if (count == 0)
        return 0;
    return bundle(out, view_of(file.p, SPOOL_HEADER_BYTES), *out_first,
                  view_of(file.p + start, end - start));
}

static int take_files(struct spool *s, struct writer *out, uint64_t *out_no, uint32_t *out_count)
{
    uint64_t last;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    last = s->file.no;
    pthread_mutex_unlock(&s->lock);
    *out_count = 0;
    while (s->oldest_no <= last) {
        scoped(free) uint8_t *bytes = NULL;
        uint64_t at = s->acked_at > SPOOL_HEADER_BYTES ? s->acked_at : SPOOL_HEADER_BYTES;
        uint64_t first = 0;
        size_t end = 0;
        char name[24];
        size_t n;

        rc = load_tail(s, s->oldest_no, at, &bytes, &n);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        if (rc == 0) {
            *out_no = s->oldest_no;
            rc = take_from_file(view_of(bytes, n), s->acked_n, out, &first, out_count, &end);
            if (*out_count > 0) {
                s->taken_n = first + *out_count;
                s->taken_at = at + end - SPOOL_HEADER_BYTES;
            }
            if (rc < 0 || *out_count > 0)
                return rc;
        }
        if (s->oldest_no == last)
            break; /* SPOOL-3 */
        file_name(s->oldest_no, name);
        ignored(fdio_unlink(s->dir_fd, name)); /* what stays is pushed again and skipped */
        s->oldest_no++;
        s->acked_n = 0;
        s->acked_at = 0;
    }
    return 0;
}

static int take_table(struct spool *s, struct writer *out, uint64_t *out_no, uint32_t *out_count)
{
    scoped(writer_fini) struct writer records = { 0 };
    scoped(writer_fini) struct writer header = { 0 };
    uint64_t first = 0;
    int rc;

    writer_init(&records);
    writer_init(&header);
    nsdb_lock(s->opts.db);
    rc = nsdb_audit_take(s->opts.db, SPOOL_BUNDLE_BYTES, &records, out_no, &first, out_count);
    if (rc == 0 && *out_count > 0)
        rc = nsdb_audit_stream_get(s->opts.db, *out_no, &header);
    nsdb_unlock(s->opts.db);
    if (rc < 0 || *out_count == 0)
        return rc;
    return bundle(out, writer_done(&header), first, writer_done(&records));
}

int spool_take(struct spool *s, bool table, struct writer *out, uint64_t *out_no,
               uint32_t *out_count)
{
    *out_count = 0;
    return table ? take_table(s, out, out_no, out_count) : take_files(s, out, out_no, out_count);
}

int spool_acknowledge(struct spool *s, bool table, uint64_t no, uint64_t next_n)
{
    int rc;

    if (!table) {
        if (no != s->oldest_no)
            return 0;
        s->acked_n = next_n;
        s->acked_at = next_n == s->taken_n ? s->taken_at : 0; /* it may have less than we thought */
        return 0;
    }
    rc = nsdb_begin(s->opts.db);
    if (rc < 0)
        return rc;
    rc = nsdb_audit_trim(s->opts.db, no, next_n);
    if (rc < 0) {
        nsdb_rollback(s->opts.db);
        return rc;
    }
    nsdb_commit_soon(s->opts.db);
    return 0;
}

/* comm of a process; kept for a second, since viewers open hundreds of files in a row. */
static void program_name(struct spool *s, int32_t pid, char out[32])
{
    size_t slot = (uint32_t)pid % PROGRAM_CACHE;
    uint64_t now = clock_boottime_ms();
    char path[48];
    ssize_t n = 0;
    int fd;

    out[0] = '\0';
    if (pid <= 0)
        return;
    pthread_mutex_lock(&s->program_lock);
    if (s->programs[slot].pid == pid && now - s->programs[slot].at_ms < PROGRAM_CACHE_MS) {
        memcpy(out, s->programs[slot].name, 32);
        pthread_mutex_unlock(&s->program_lock);
        return;
    }
    pthread_mutex_unlock(&s->program_lock);
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, out, 31);
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    if (n > 0 && out[n - 1] == '\n')
        out[n - 1] = '\0';
    pthread_mutex_lock(&s->program_lock);
    s->programs[slot].pid = pid;
    s->programs[slot].at_ms = now;
    memcpy(s->programs[slot].name, out, 32);
    pthread_mutex_unlock(&s->program_lock);
}

void spool_event_init(struct vault *v, struct event *e, enum event_type type,
                      const struct who *who, const struct session *sess, char program[32])
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    *e = (struct event){ .type = type, .host = v->host };
    e->time_s = (uint64_t)now.tv_sec;
    e->time_ns = (uint32_t)now.tv_nsec;
    program[0] = '\0';
    if (who) {
        e->uid = who->uid;
        program_name(v->spool, who->pid, program);
        e->program = view_text(program);
    }
    if (sess) {
        e->user = sess->id->user;
        e->card = sess->id->card.hash;
        e->purpose = sess->purpose;
    }
}
