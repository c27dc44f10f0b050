#include "format/grant.h"

#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum { GRANT_SIG_BYTES = 64, GRANT_PROXIES = 1 };

static const char *const purpose_names[] = {
    [PURPOSE_ANY] = "any",         [PURPOSE_TREAT] = "TREAT",
    [PURPOSE_ETREAT] = "ETREAT",   [PURPOSE_BTG] = "BTG",
    [PURPOSE_HPAYMT] = "HPAYMT",   [PURPOSE_HOPERAT] = "HOPERAT",
    [PURPOSE_HRESCH] = "HRESCH",   [PURPOSE_PATRQT] = "PATRQT",
    [PURPOSE_PUBHLTH] = "PUBHLTH",
};
static_assert(ARRAY_COUNT(purpose_names) == PURPOSE_LAST + 1, "a name for each purpose");

const char *purpose_name(enum purpose p)
{
    return (unsigned)p <= PURPOSE_LAST ? purpose_names[p] : "unknown";
}

int purpose_parse(const char *name, enum purpose *out_purpose)
{
    for (unsigned i = 0; i <= PURPOSE_LAST; i++) {
        if (strcasecmp(name, purpose_names[i]) == 0) {
            *out_purpose = (enum purpose)i;
            return 0;
        }
    }
    return PHR_E_USAGE;
}

static bool is_sound(const struct grant *g)
{
    return (g->rights == GRANT_R || g->rights == GRANT_RW) &&
           g->purpose <= PURPOSE_LAST && g->not_before_s <= g->not_after_s;
}

int grant_encode(const struct grant *g, const struct sign_key *owner, struct writer *out)
{
    uint8_t ctx[GRANT_CTX_BYTES];
    size_t start = out->n;
    struct signature sig;
    struct digest h;

    if (!is_sound(g))
        return PHR_E_FORMAT;
    grant_ctx_encode(&g->ctx, ctx);
    writer_text(out, "PHRFS-G1");
    writer_bytes(out, ctx, sizeof ctx);
    writer_bytes(out, g->a.b, sizeof g->a.b);
    writer_bytes(out, g->b.b, sizeof g->b.b);
    writer_u8(out, (uint8_t)g->rights);
    writer_u8(out, GRANT_PROXIES);
    writer_u64(out, g->not_before_s);
    writer_u64(out, g->not_after_s);
    writer_u32(out, g->max_opens);
    writer_u16(out, (uint16_t)g->purpose);
    writer_bytes(out, g->policy.b, sizeof g->policy.b);
    writer_bytes(out, g->x.b, sizeof g->x.b);
    writer_bytes(out, g->r.b, sizeof g->r.b);
    writer_bytes(out, g->sealed_rk.b, sizeof g->sealed_rk.b);
    if (!writer_ok(out))
        return -ENOMEM;
    h = digest_sha256(view_of(out->p + start, out->n - start));
    sig = sign_labelled(owner, LABEL_GRANT, &h);
    writer_bytes(out, sig.b, sizeof sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int grant_decode(struct view bytes, struct grant *out_grant)
{
    struct reader r = reader_over(bytes);
    uint8_t ctx[GRANT_CTX_BYTES];
    struct grant g = { 0 };
    uint8_t rights;
    uint8_t proxies;
    uint16_t purpose;

    reader_expect(&r, "PHRFS-G1");
    reader_bytes(&r, ctx, sizeof ctx);
    reader_bytes(&r, g.a.b, sizeof g.a.b);
    reader_bytes(&r, g.b.b, sizeof g.b.b);
    rights = reader_u8(&r);
    proxies = reader_u8(&r);
    g.not_before_s = reader_u64(&r);
    g.not_after_s = reader_u64(&r);
    g.max_opens = reader_u32(&r);
    purpose = reader_u16(&r);
    reader_bytes(&r, g.policy.b, sizeof g.policy.b);
    reader_bytes(&r, g.x.b, sizeof g.x.b);
    reader_bytes(&r, g.r.b, sizeof g.r.b);
    reader_bytes(&r, g.sealed_rk.b, sizeof g.sealed_rk.b);
    ignored(reader_view(&r, GRANT_SIG_BYTES)); /* grant_check looks at it */
    if (!reader_done(&r) || proxies != GRANT_PROXIES || purpose > PURPOSE_LAST ||
        (rights != GRANT_R && rights != GRANT_RW))
        return PHR_E_FORMAT;
    grant_ctx_decode(ctx, &g.ctx);
    g.rights = (enum grant_rights)rights;
    g.purpose = (enum purpose)purpose;
    if (!is_sound(&g))
        return PHR_E_FORMAT;

    *out_grant = g;
    return 0;
}

int grant_check(struct view bytes, const struct verify_key *owner,
                struct grant *out_grant)
{
    struct signature sig;
    struct digest h;
    struct grant g;
    int rc = grant_decode(bytes, &g);

    if (rc < 0)
        return rc;
    h = digest_sha256(view_of(bytes.p, bytes.n - GRANT_SIG_BYTES));
    memcpy(sig.b, bytes.p + bytes.n - GRANT_SIG_BYTES, sizeof sig.b);
    rc = sign_check_labelled(owner, LABEL_GRANT, &h, &sig);
    if (rc < 0)
        return rc;
    *out_grant = g;
    return 0;
}

int grant_check_time(const struct grant *g, uint64_t now_s)
{
    return now_s < g->not_before_s || now_s > g->not_after_s ? PHR_E_EXPIRED : 0;
}
