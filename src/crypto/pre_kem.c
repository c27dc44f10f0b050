#include "crypto/pre_kem.h"

#include <sodium.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/wipe.h"

enum { KEM_INFO_BYTES = 4 + FILE_CTX_BYTES + 4 * (4 + 32) };

void pre_kem_derive(const struct point *shared, const struct file_ctx *ctx,
                    const struct point *a_pub, const struct capsule *capsule,
                    struct symkey *out_kek, struct digest *out_commit)
{
    scoped(wipe_wide) struct wipe64 okm;
    uint8_t encoded[FILE_CTX_BYTES];
    uint8_t info[KEM_INFO_BYTES];
    struct writer w;

    file_ctx_encode(ctx, encoded);
    writer_init_fixed(&w, (struct span){ info, sizeof info });
    writer_lp(&w, view_of(encoded, sizeof encoded));
    writer_lp(&w, view_of(a_pub->b, sizeof a_pub->b));
    writer_lp(&w, view_of(capsule->e.b, sizeof capsule->e.b));
    writer_lp(&w, view_of(capsule->v.b, sizeof capsule->v.b));
    writer_lp(&w, view_of(capsule->s, sizeof capsule->s));
    INVARIANT(writer_ok(&w) && w.n == sizeof info);

    digest_hkdf(view_of(shared->b, sizeof shared->b), view_text(LABEL_PRE_KEM),
                view_of(info, sizeof info), (struct span){ okm.b, sizeof okm.b });
    memcpy(out_kek->b, okm.b, 32);
    memcpy(out_commit->b, okm.b + 32, 32);
}

int pre_kem_open(const struct point *shared, const struct file_ctx *ctx,
                 const struct point *a_pub, const struct capsule *capsule,
                 const struct digest *commit, struct symkey *out_kek)
{
    scoped(wipe_symkey) struct symkey kek;
    struct digest found;

    pre_kem_derive(shared, ctx, a_pub, capsule, &kek, &found);
    if (!digest_equal(&found, commit))
        return PHR_E_SEAL;
    *out_kek = kek;
    return 0;
}

int pre_kem_grant_scalar(const struct grant_ctx *ctx, const struct point *a_pub,
                         const struct point *b_pub, const struct point *x,
                         const struct point *shared, struct scalar *out_d)
{
    uint8_t encoded[GRANT_CTX_BYTES];
    struct view parts[] = {
        { encoded, sizeof encoded },     { a_pub->b, sizeof a_pub->b },
        { b_pub->b, sizeof b_pub->b },   { x->b, sizeof x->b },
        { shared->b, sizeof shared->b },
    };

    grant_ctx_encode(ctx, encoded);
    return pre_hash_to_scalar(LABEL_PRE_DH, parts, ARRAY_COUNT(parts), out_d->b);
}
