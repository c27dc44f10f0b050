/* Dentries and inodes of a state_memory. */
#ifndef PHR_LEDGER_MEMORY_ROWS_H
#define PHR_LEDGER_MEMORY_ROWS_H

#include "ledger/state_memory.h"

/* Verbs of struct ledger_state; user is struct state_memory. */
int memory_rows_get(void *user, const struct id16 *patient, const struct id16 *row,
                    struct ledger_row *out_row) PHR_MUST_CHECK;
int memory_rows_find_name(void *user, const struct id16 *patient,
                          const struct id16 *parent, const struct id16 *tag,
                          struct id16 *out_row) PHR_MUST_CHECK;
int memory_rows_count_children(void *user, const struct id16 *patient,
                               const struct id16 *parent,
                               uint64_t *out_count) PHR_MUST_CHECK;
int memory_rows_put_dentry(void *user, const struct class_ctx *ctx,
                           struct view row_bytes) PHR_MUST_CHECK;
int memory_rows_put_inode(void *user, const struct class_ctx *ctx,
                          struct view row_bytes) PHR_MUST_CHECK;
int memory_rows_put_remove(void *user, const struct class_ctx *ctx,
                           const struct id16 *row) PHR_MUST_CHECK;
int memory_rows_put_epoch(void *user, const struct class_ctx *ctx,
                          const struct digest *object_id) PHR_MUST_CHECK;

#endif
