/* Names in the object store (S-5). Ledger numbers have 20 digits, so that names sort as they do. */
#ifndef PHR_SIDECAR_STOREKEY_H
#define PHR_SIDECAR_STOREKEY_H

#include "phr/err.h"
#include "phr/types.h"

enum { STOREKEY_BYTES = 128 };

void storekey_object(const struct id16 *patient, const struct digest *id, char out[STOREKEY_BYTES]);
void storekey_entry(const struct id16 *patient, uint64_t seq, char out[STOREKEY_BYTES]);
/* Prefix of a patient's ledger; of all patients for NULL. */
void storekey_ledger(const struct id16 *patient, char out[STOREKEY_BYTES]);
void storekey_checkpoint(uint64_t size, char out[STOREKEY_BYTES]);
/* PHR_E_FORMAT: not the name of a ledger entry. */
int storekey_parse_entry(const char *key, struct id16 *out_patient, uint64_t *out_seq) PHR_MUST_CHECK;

#endif
