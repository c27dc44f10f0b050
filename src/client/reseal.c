#include "client/reseal.h"

#include <string.h>
#include <sys/mman.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "format/snapshot.h"

enum { OBJECT_TIMEOUT_MS = 120 * 1000 };

static int reseal_dentry(const struct compartment *was, const struct compartment *now,
                         struct view bytes, struct writer *out)
{
    scoped(writer_fini) struct writer sealed;
    struct dentry_row row;
    struct dentry d;
    int rc = dentry_row_decode(bytes, &row);

    writer_init(&sealed);
    if (rc == 0)
        rc = dentry_open_sealed(&was->rows, &row, &d);
    if (rc < 0)
        return rc;
    row.tag = name_tag(&now->rows, &row.parent, view_of(d.name, d.name_bytes));
    rc = dentry_seal(&now->rows, &row, &d, &sealed);
    secret_wipe(&d, sizeof d);
    if (rc < 0)
        return rc;
    row.sealed = writer_done(&sealed);
    dentry_row_encode(&row, out);
    return writer_ok(out) ? 0 : -ENOMEM;
}

static int reseal_inode(const struct compartment *was, const struct compartment *now,
                        struct view bytes, struct writer *out)
{
    scoped(writer_fini) struct writer sealed;
    struct writer plain;
    struct inode_row row;
    struct inode_attr attr;
    int rc = inode_row_decode(bytes, &row);

    if (rc < 0)
        return rc;
    writer_init(&sealed);
    writer_init(&plain);
    rc = inode_open_sealed(&was->rows, &row, &plain, &attr);
    if (rc == 0)
        rc = inode_seal(&now->rows, &row, &attr, &sealed);
    inode_plain_free(&plain);
    if (rc < 0)
        return rc;
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, out);
    return writer_ok(out) ? 0 : -ENOMEM;
}

struct rows {
    struct view *views; /* each in memory of its own */
    size_t count;
};

static void rows_fini(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        free((void *)(uintptr_t)rows->views[i].p);
    free(rows->views);
    *rows = (struct rows){ 0 };
}

static inline void rows_fini_scope(struct rows *rows)
{
    rows_fini(rows);
}

static int by_id(const void *a, const void *b)
{
    const struct view *x = a;
    const struct view *y = b;

    return memcmp(x->p, y->p, sizeof(struct id16)); /* both kinds begin with their id */
}

static int reseal_all(struct phr_owner *o, const struct compartment *was,
                      const struct compartment *now, enum ledger_row_kind kind,
                      struct rows *out)
{
    const struct replica_row *row;
    size_t all = 0;
    int rc = 0;

    while (replica_get_row(o->replica, all))
        all++;
    out->views = calloc(all ? all : 1, sizeof *out->views);
    if (!out->views)
        return -ENOMEM;
    for (size_t i = 0; rc == 0 && (row = replica_get_row(o->replica, i)) != NULL; i++) {
        struct writer bytes;
        size_t n = 0;

        if (row->is_dead || row->row.kind != kind ||
            !id_equal(&row->row.class_id, &was->ctx.class_id))
            continue;
        writer_init(&bytes);
        rc = kind == LEDGER_ROW_DENTRY ? reseal_dentry(was, now, row->bytes, &bytes)
                                       : reseal_inode(was, now, row->bytes, &bytes);
        if (rc == 0) {
            uint8_t *taken = writer_take(&bytes, &n);

            out->views[out->count] = view_of(taken, n);
            out->count += taken != NULL;
            rc = taken ? 0 : -ENOMEM;
        }
        writer_fini(&bytes);
        if (i % 256 == 0)
            client_progress(o->client, "names", i, all);
    }
    qsort(out->views, out->count, sizeof *out->views, by_id);
    return rc;
}

static int put_object(struct phr_owner *o, struct view bytes, struct digest *out_id)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(close_fd) int fd = memfd_create("object", MFD_CLOEXEC);
    uint8_t ask[16 + 32 + 8 + 8];
    struct digest id = digest_sha256(bytes);
    int rc;

    if (fd < 0)
        return -errno;
    rc = fdio_write_all(fd, bytes.p, bytes.n);
    if (rc < 0)
        return rc;
    memcpy(ask, o->identity->ring->user.b, 16);
    memcpy(ask + 16, id.b, 32);
    put_le64(ask + 48, 0);
    put_le64(ask + 56, bytes.n);
    rc = client_ask(o->client, MSG_OBJECT_PUT, view_of(ask, sizeof ask), fd,
                    OBJECT_TIMEOUT_MS, &reply);
    if (rc == 0)
        *out_id = id;
    return rc < 0 && !o->client->why[0]
               ? client_fail_plain(o->client, rc, "the object store")
               : rc;
}

/* Ciphertext only, whatever lies in it. */
int reseal_namespace(struct phr_owner *o, const struct compartment *was,
                     const struct compartment *now, struct digest *out_id)
{
    scoped(rows_fini) struct rows dentries = { 0 };
    scoped(rows_fini) struct rows inodes = { 0 };
    scoped(writer_fini) struct writer object;
    struct snapshot_rows kinds[SNAPSHOT_KINDS] = { { 0 } };
    struct snapshot_head head = { .ctx = now->ctx };
    int rc;

    writer_init(&object);
    rc = reseal_all(o, was, now, LEDGER_ROW_DENTRY, &dentries);
    if (rc == 0)
        rc = reseal_all(o, was, now, LEDGER_ROW_INODE, &inodes);
    if (rc < 0)
        return rc;
    ignored(replica_get_head(o->replica, &head.seq,
                             &head.leaf)); /* there is one: it has a class */
    kinds[SNAPSHOT_DENTRY] = (struct snapshot_rows){ dentries.views, dentries.count };
    kinds[SNAPSHOT_INODE] = (struct snapshot_rows){ inodes.views, inodes.count };
    rc = snapshot_encode(&head, kinds, &object);
    if (rc == 0)
        rc = put_object(o, writer_done(&object), out_id);
    return rc;
}
