/* Known answers at start-up (CRYPTO appendix A); a failure stops the process. */
#ifndef PHR_CRYPTO_SELFTEST_H
#define PHR_CRYPTO_SELFTEST_H

#include "phr/err.h"

/* After secret_arena_open. PHR_E_SELFTEST. Only the parts that this binary links by role. */
int selftest_run(void) PHR_MUST_CHECK;        /* digest, sign, aead, seal, proxy */
int selftest_run_people(void) PHR_MUST_CHECK; /* writer, owner, reader: phrfs and phr */

#endif
