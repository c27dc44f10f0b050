#ifndef PHR_TESTS_UNIT_FAKE_CONTENTS_H
#define PHR_TESTS_UNIT_FAKE_CONTENTS_H

#include <fcntl.h>
#include <stdlib.h>

#include "vault/vault.h"

/* What the sealer does in time: this file, of this size and no segments. */
int fake_contents_seal(struct vault *v, uint64_t nodeid, uint64_t size) PHR_MUST_CHECK;
/* Keys of the last handle that was opened for reading alone; the caller's reference. NULL: none yet. */
struct key_set *fake_contents_read_keys(struct vault *v);

#endif
