/* Tests only: an entry around any body, for the known answer of CRYPTO appendix A. */
#ifndef PHR_FORMAT_ENTRY_TEST_H
#define PHR_FORMAT_ENTRY_TEST_H

#include "crypto/digest.h"
#include "format/entry.h"

int entry_encode_body(struct entry *e, struct view body, const struct sign_key *srs,
                      struct writer *out, struct digest *out_rec_hash) PHR_MUST_CHECK;

#endif
