/*
 * One well-formed example of each format, with the fixed keys of CRYPTO appendix A: what golden
 * files, decoder tests and fuzz corpora are made from.
 */
#ifndef PHR_TESTS_GOLDEN_SAMPLES_H
#define PHR_TESTS_GOLDEN_SAMPLES_H

#include "base/cursor.h"
#include "crypto/sign.h"
#include "format/segment.h"
#include "phr/err.h"

struct sample {
    const char *name; /* of the golden file and of the fuzz target that starts from it */
    int (*make)(struct writer *out);
    bool is_fixed; /* the same bytes each time: no nonce is drawn */
};
extern const struct sample samples[];
extern const size_t sample_count;

/* After secret_arena_open. 0, -ENOENT or the maker's reason. */
int sample_make(const char *name, struct writer *out) PHR_MUST_CHECK;

/* Keys and ids of appendix A; static storage, test values. */
const struct symkey *sample_fk(void);
const struct symkey *sample_nk(void);
const struct scalar *sample_scalar(const char *label); /* one of a b r u x k */
struct point sample_public(const char *label);
struct sign_key *sample_sign_key(void); /* from edseed; sign_key_free */
struct symkey sample_key(const char *label);

/* The pieces that tests take apart or change. */
struct inode_attr;
struct inode_attr sample_inode_attr(void);
struct event;
struct event sample_event(void);
struct grant;
struct grant sample_grant(void);
struct card;
struct card sample_card(void);
struct footer sample_footer(struct view header);
void sample_overlay_group(struct overlay_group *out_group);
int sample_overlay_keys(struct overlay_keys *out_keys) PHR_MUST_CHECK;

#endif
