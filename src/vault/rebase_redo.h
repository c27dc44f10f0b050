/* Between rebase.c and rebase_redo.c. */
#ifndef PHR_VAULT_REBASE_REDO_H
#define PHR_VAULT_REBASE_REDO_H

#include "vault/vault_state.h"

/* Appends the 16-byte ids of a patient's classes. */
int rebase_classes(struct vault *v, const struct id16 *patient, struct writer *out_ids) PHR_MUST_CHECK;

#endif
