/*
 * What verification needs to know and to change: implemented by the SRS (srs.db), by a mount
 * (the confirmed side of namespace.db) and in memory (state_memory.h: client, tests).
 * All calls of one entry happen inside one transaction of the implementor.
 */
#ifndef PHR_LEDGER_STATE_H
#define PHR_LEDGER_STATE_H

#include "format/card.h"
#include "format/grant.h"
#include "format/op.h"

enum ledger_epoch_state {
    LEDGER_EPOCH_CURRENT = 1, /* writable */
    LEDGER_EPOCH_HELD =
        2, /* epoch-begin seen: rows of this class wait (PHR_E_EPOCH_HELD) */
    LEDGER_EPOCH_OLD = 3, /* readable: a newer one is current */
    LEDGER_EPOCH_RETIRED = 4
};
struct ledger_class {
    struct class_ctx ctx;
    struct point a;
    enum ledger_epoch_state state;
    uint64_t held_since_s; /* state HELD */
};
enum ledger_row_kind { LEDGER_ROW_DENTRY = 1, LEDGER_ROW_INODE = 2 };
struct ledger_row {
    enum ledger_row_kind kind;
    struct id16 class_id;
    uint32_t epoch;
    uint64_t version;
    struct id16 parent; /* dentries */
    struct id16 tag;
};
struct ledger_header {
    struct file_ctx ctx;
    struct digest hash;
};

struct ledger_state {
    void *user;

    /* Questions: 0, -ENOENT when there is none, or another negative reason. */
    int (*get_head)(void *user, const struct id16 *patient, uint64_t *out_seq,
                    struct digest *out_leaf);
    int (*get_card)(void *user, const struct id16 *patient, const struct id16 *writer,
                    struct card *out_card);
    int (*get_epoch_current)(void *user, const struct id16 *patient,
                             const struct id16 *class_id, uint32_t *out_epoch);
    int (*get_class)(void *user, const struct class_ctx *ctx,
                     struct ledger_class *out_class);
    /* A grant of this class-epoch with write right, not revoked, to this reader and card. */
    int (*find_write_grant)(void *user, const struct class_ctx *ctx,
                            const struct id16 *writer, const struct digest *card);
    int (*get_grant)(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked);
    int (*get_row)(void *user, const struct id16 *patient, const struct id16 *row,
                   struct ledger_row *out_row);
    /* The live dentry of this (class, parent, tag). */
    int (*find_name)(void *user, const struct id16 *patient, const struct id16 *parent,
                     const struct id16 *tag, struct id16 *out_row);
    /* The newest header of a file (file16 = class16: the names header). */
    int (*get_header)(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header);
    int (*get_content_version)(void *user, const struct id16 *patient,
                               const struct id16 *file,
                               uint64_t *out_version); /* -ENOENT: never sealed */
    int (*get_last_n)(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t *out_n);
    /*
     * Live dentries under this parent. May be NULL: then a removed folder is not checked to be
     * empty. The SRS has it, so that a folder that somebody else fills meanwhile is not lost.
     */
    int (*count_children)(void *user, const struct id16 *patient,
                          const struct id16 *parent, uint64_t *out_count);

    /* Changes, already verified. Views borrow from the entry. */
    int (*put_head)(void *user, const struct id16 *patient, uint64_t seq,
                    const struct digest *leaf, struct view entry_bytes);
    int (*put_card)(void *user, const struct id16 *patient, const struct card *card,
                    struct view bytes);
    int (*put_class)(void *user, const struct class_record *record, struct view bytes);
    int (*put_epoch_state)(void *user, const struct class_ctx *ctx,
                           enum ledger_epoch_state state, uint64_t time_s);
    int (*put_grant)(void *user, const struct grant *grant, struct view bytes);
    int (*put_revoke)(void *user, const struct id16 *patient,
                      const struct revoke *revoke);
    int (*put_header)(void *user, const struct file_ctx *ctx, const struct digest *hash,
                      struct view bytes);
    int (*put_dentry)(void *user, const struct class_ctx *ctx, struct view row_bytes);
    int (*put_inode)(void *user, const struct class_ctx *ctx, struct view row_bytes);
    int (*put_remove)(void *user, const struct class_ctx *ctx, const struct id16 *row);
    int (*put_seal)(void *user, const struct class_ctx *ctx,
                    const struct seal_change *seal);
    /*
     * All dentries and inodes of the class are replaced by those in the snapshot object.
     * May return PHR_E_PENDING when the object is not at hand: the entry is then not applied
     * and is offered again later. An SRS keeps row ids and versions from the object too.
     */
    int (*put_epoch_rows)(void *user, const struct class_ctx *ctx,
                          const struct digest *object_id);
    int (*put_last_n)(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n);
};

#endif
