/*
 * AUDITLOG-1: a row is bound to its place: the box under the record key carries the index as
 *   additional data, the leaf stands in the tree.
 * AUDITLOG-2: erasing salt and box erases what a record says; entry, leaf and tree stay valid.
 * Nonces of boxes are random (24 bytes); the record key lives as long as the server.
 */
#include "audit/auditlog.h"

#include <string.h>

#include "crypto/random.h"

int auditlog_load(const struct auditlog_store *store, uint64_t size,
                  const struct symkey *key, struct auditlog *out_log)
{
    struct auditlog log = { .store = store, .key = key };
    int rc = tree_load(&store->tree, size, &log.tree);

    if (rc < 0)
        return rc;
    *out_log = log;
    return 0;
}

int auditlog_append(struct auditlog *log, const struct event *e, uint64_t time_s,
                    struct digest *out_leaf)
{
    scoped(writer_fini) struct writer record;
    const struct auditlog_store *store = log->store;
    struct auditlog_stored row = { .patient = e->patient };
    struct audit_entry entry = { .time_s = time_s, .type = (uint8_t)e->type };
    uint8_t index[8];
    int rc;

    writer_init(&record);
    rc = event_encode(e, &record);
    if (rc < 0)
        return rc;
    if (record.n > EVENT_BYTES_MAX)
        return PHR_E_LIMIT;
    random_fill(row.salt, sizeof row.salt);
    entry.commitment = audit_commitment(row.salt, writer_done(&record));
    audit_entry_encode(&entry, row.entry);
    row.leaf = tree_leaf(view_of(row.entry, sizeof row.entry));
    put_le64(index, log->tree.size);
    row.box_bytes = record.n + AEAD_BOX_EXTRA_BYTES;
    rc = aead_box(log->key, view_of(index, sizeof index), writer_done(&record),
                  (struct span){ row.box, row.box_bytes });
    if (rc == 0)
        rc = store->put_row(store->tree.user, log->tree.size, &row);
    if (rc == 0)
        rc = tree_append(&log->tree, &row.leaf);
    if (rc == 0 && out_leaf)
        *out_leaf = row.leaf;
    return rc;
}

void auditlog_row_encode(const struct auditlog_row *row, struct writer *out)
{
    writer_u64(out, row->index);
    writer_bytes(out, row->entry, sizeof row->entry);
    writer_bytes(out, row->leaf.b, sizeof row->leaf.b);
    writer_bytes(out, row->salt, sizeof row->salt);
    writer_lp(out, row->record);
}

int auditlog_row_decode(struct reader *r, struct auditlog_row *out_row)
{
    struct auditlog_row row = { 0 };

    row.index = reader_u64(r);
    reader_bytes(r, row.entry, sizeof row.entry);
    reader_bytes(r, row.leaf.b, sizeof row.leaf.b);
    reader_bytes(r, row.salt, sizeof row.salt);
    row.record = reader_lp(r, EVENT_BYTES_MAX);
    if (!reader_ok(r))
        return PHR_E_FORMAT;
    *out_row = row;
    return 0;
}

int auditlog_copy_row(const struct auditlog *log, uint64_t index,
                      const struct id16 *whose, struct writer *out)
{
    struct auditlog_stored stored;
    struct auditlog_row row = { .index = index };
    uint8_t record[EVENT_BYTES_MAX];
    uint8_t place[8];
    int rc = log->store->get_row(log->store->tree.user, index, &stored);

    if (rc < 0)
        return rc;
    memcpy(row.entry, stored.entry, sizeof row.entry);
    row.leaf = stored.leaf;
    if (!whose || memcmp(whose->b, stored.patient.b, sizeof whose->b) == 0) {
        if (stored.box_bytes < AEAD_BOX_EXTRA_BYTES ||
            stored.box_bytes > sizeof stored.box)
            return PHR_E_SEAL;
        put_le64(place, index);
        row.record = view_of(record, stored.box_bytes - AEAD_BOX_EXTRA_BYTES);
        rc = aead_open_box(log->key, view_of(place, sizeof place),
                           view_of(stored.box, stored.box_bytes),
                           (struct span){ record, row.record.n });
        if (rc < 0)
            return rc;
        memcpy(row.salt, stored.salt, sizeof row.salt);
    }
    auditlog_row_encode(&row, out);
    return writer_ok(out) ? 0 : -ENOMEM;
}
