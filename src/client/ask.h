/* Passphrases: from a terminal without echo, a descriptor, or a file that is 0600. */
#ifndef PHR_CLIENT_ASK_H
#define PHR_CLIENT_ASK_H

#include "phr/control.h"

struct phr_client;
/*
 * *out_pass is arena memory of the caller (secret_free), without the newline, never empty.
 * PHR_E_RIGHTS when a file is open to others, PHR_E_USAGE for an empty or too long one or when
 * two new ones differ, PHR_E_PASSPHRASE when there is neither a source nor a terminal.
 */
int ask_passphrase(struct phr_client *c, const struct phr_passphrase *how,
                   uint8_t **out_pass, size_t *out_bytes) PHR_MUST_CHECK;

#endif
