#include "format/card.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "crypto/label.h"

/*
 * body || pop64 || self_sig64 || auth_sig64. The self-signature covers body || pop, the
 * authority's all before itself.
 */
enum { POP_BYTES = 64, SIG_BYTES = 64 };

struct card_parts {
    struct card card;
    struct view body;
    struct pop pop;
    struct signature self;
};

bool label_is_valid(struct view label)
{
    if (label.n < 1 || label.n > LABEL_BYTES_MAX)
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = label.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

struct id16 patient_id(const struct verify_key *owner)
{
    uint8_t room[64];
    struct writer w;
    struct digest h;
    struct id16 id;

    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_text(&w, LABEL_PATIENT);
    writer_u8(&w, 0);
    writer_bytes(&w, owner->b, sizeof owner->b);
    INVARIANT(writer_ok(&w));
    h = digest_sha256(writer_done(&w));
    memcpy(id.b, h.b, sizeof id.b);
    return id;
}

/* What every card must satisfy, made here or read. */
static bool is_sound(const struct card *c)
{
    struct id16 patient;
    size_t label_bytes = strnlen(c->label, sizeof c->label);

    if (c->role < CARD_PERSON || c->role > CARD_SRS || c->not_before_s > c->not_after_s)
        return false;
    if (label_bytes > LABEL_BYTES_MAX)
        return false;
    if (label_bytes > 0 && !label_is_valid(view_of(c->label, label_bytes)))
        return false;
    if (c->role != CARD_OWNER)
        return true;
    patient = patient_id(&c->ed);
    return label_bytes == 0 && id_equal(&c->user, &patient);
}

static void body_write(const struct card *c, struct writer *w)
{
    writer_text(w, "PHRFS-C1");
    writer_bytes(w, c->user.b, sizeof c->user.b);
    writer_u16(w, (uint16_t)c->role);
    writer_bytes(w, c->org.b, sizeof c->org.b);
    writer_bytes(w, c->ed.b, sizeof c->ed.b);
    writer_bytes(w, c->b.b, sizeof c->b.b);
    writer_u64(w, c->not_before_s);
    writer_u64(w, c->not_after_s);
    writer_u64(w, c->serial);
    writer_lp(w, view_text(c->label));
}

static struct signature sign_over(const struct sign_key *key, struct view bytes)
{
    struct digest h = digest_sha256(bytes);

    return sign_labelled(key, LABEL_CARD, &h);
}

static int check_over(const struct verify_key *key, struct view bytes,
                      const struct signature *sig)
{
    struct digest h = digest_sha256(bytes);

    return sign_check_labelled(key, LABEL_CARD, &h, sig) < 0 ? PHR_E_CARD : 0;
}

int card_request_encode(const struct card *c, const struct sign_key *self,
                        const struct scalar *b, struct writer *out)
{
    size_t start = out->n;
    struct signature sig;
    struct pop pop;
    int rc;

    if (!is_sound(c))
        return PHR_E_CARD;
    body_write(c, out);
    if (!writer_ok(out))
        return -ENOMEM;
    rc = pop_prove(b, &c->b, view_of(out->p + start, out->n - start), &pop);
    if (rc < 0)
        return rc;
    writer_bytes(out, pop.c, sizeof pop.c);
    writer_bytes(out, pop.z, sizeof pop.z);
    if (!writer_ok(out))
        return -ENOMEM;
    sig = sign_over(self, view_of(out->p + start, out->n - start));
    writer_bytes(out, sig.b, sizeof sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

static int parts_read(struct reader *r, struct card_parts *out_parts)
{
    struct card_parts p = { 0 };
    const uint8_t *start = r->p;
    struct view label;
    uint16_t role;

    reader_expect(r, "PHRFS-C1");
    reader_bytes(r, p.card.user.b, sizeof p.card.user.b);
    role = reader_u16(r);
    reader_bytes(r, p.card.org.b, sizeof p.card.org.b);
    reader_bytes(r, p.card.ed.b, sizeof p.card.ed.b);
    reader_bytes(r, p.card.b.b, sizeof p.card.b.b);
    p.card.not_before_s = reader_u64(r);
    p.card.not_after_s = reader_u64(r);
    p.card.serial = reader_u64(r);
    label = reader_lp(r, LABEL_BYTES_MAX);
    if (!reader_ok(r) || role > CARD_SRS || (label.n > 0 && !label_is_valid(label)))
        return PHR_E_FORMAT;
    p.card.role = (enum card_role)role;
    if (label.n > 0)
        memcpy(p.card.label, label.p, label.n);
    p.body = view_of(start, (size_t)(r->p - start));
    reader_bytes(r, p.pop.c, sizeof p.pop.c);
    reader_bytes(r, p.pop.z, sizeof p.pop.z);
    reader_bytes(r, p.self.b, sizeof p.self.b);
    if (!reader_ok(r) || !is_sound(&p.card))
        return PHR_E_FORMAT;
    *out_parts = p;
    return 0;
}

/* Proof of possession and self-signature. */
static int parts_check(const struct card_parts *p)
{
    if (pop_check(&p->pop, &p->card.b, p->body) < 0)
        return PHR_E_CARD;
    return check_over(&p->card.ed, view_of(p->body.p, p->body.n + POP_BYTES), &p->self);
}

static int request_read(struct view bytes, struct card_parts *out_parts)
{
    struct reader r = reader_over(bytes);
    struct card_parts p;
    int rc = parts_read(&r, &p);

    if (rc < 0)
        return rc;
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_parts = p;
    return 0;
}

int card_approve(struct view request, const struct sign_key *authority,
                 struct writer *out)
{
    struct card_parts p;
    struct signature sig;
    int rc = request_read(request, &p);

    if (rc < 0)
        return rc;
    rc = parts_check(&p);
    if (rc < 0)
        return rc;
    sig = sign_over(authority, request);
    writer_view(out, request);
    writer_bytes(out, sig.b, sizeof sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int card_request_decode(struct view bytes, struct card *out_card)
{
    struct card_parts p;
    int rc = request_read(bytes, &p);

    if (rc < 0)
        return rc;
    p.card.hash = digest_sha256(bytes);
    *out_card = p.card;
    return 0;
}

static int whole_read(struct view bytes, struct card_parts *out_parts,
                      struct signature *out_auth)
{
    struct reader r = reader_over(bytes);
    struct card_parts p;
    int rc = parts_read(&r, &p);

    if (rc < 0)
        return rc;
    reader_bytes(&r, out_auth->b, sizeof out_auth->b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    p.card.hash = digest_sha256(bytes);
    *out_parts = p;
    return 0;
}

int card_decode(struct view bytes, struct card *out_card)
{
    struct card_parts p;
    struct signature auth;
    int rc = whole_read(bytes, &p, &auth);

    if (rc < 0)
        return rc;
    *out_card = p.card;
    return 0;
}

int card_check(struct view bytes, const struct verify_key *authority,
               struct card *out_card)
{
    struct card_parts p;
    struct signature auth;
    int rc = whole_read(bytes, &p, &auth);

    if (rc < 0)
        return rc;
    rc = parts_check(&p);
    if (rc < 0)
        return rc;
    rc = check_over(authority, view_of(bytes.p, bytes.n - SIG_BYTES), &auth);
    if (rc < 0)
        return rc;
    *out_card = p.card;
    return 0;
}

int card_check_time(const struct card *c, uint64_t now_s)
{
    return now_s < c->not_before_s || now_s > c->not_after_s ? PHR_E_EXPIRED : 0;
}
