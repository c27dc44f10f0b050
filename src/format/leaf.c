#include "format/leaf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"

/*
 * A checkpoint is a C2SP signed note: the signed text is three lines, then an empty line, then
 * one signature line whose key name is the origin.
 *
 *   origin \n size \n base64(root) \n \n — origin base64(keyid4 || sig64) \n
 */
enum {
    NOTE_BYTES_MAX = 1024,
    KEYID_BYTES = 4,
    SIG_BYTES = 64,
    ED25519_KEY_TYPE = 0x01,
    ROOT_CHARS = 44,
    SIG_CHARS = 92,
};
#define NOTE_DASH "\xe2\x80\x94 " /* em dash, space */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void audit_entry_encode(const struct audit_entry *e, uint8_t out[AUDIT_ENTRY_BYTES])
{
    memcpy(out, "PHRFS-A1", 8);
    put_le64(out + 8, e->time_s);
    out[16] = e->type;
    memcpy(out + 17, e->commitment.b, sizeof e->commitment.b);
}

int audit_entry_decode(struct view bytes, struct audit_entry *out_entry)
{
    struct reader r = reader_over(bytes);
    struct audit_entry e = { 0 };

    reader_expect(&r, "PHRFS-A1");
    e.time_s = reader_u64(&r);
    e.type = reader_u8(&r);
    reader_bytes(&r, e.commitment.b, sizeof e.commitment.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_entry = e;
    return 0;
}

struct digest audit_commitment(const uint8_t salt[32], struct view record)
{
    return digest_hmac(view_of(salt, 32), record);
}

static void base64_write(struct view v, struct writer *out)
{
    for (size_t i = 0; i < v.n; i += 3) {
        uint32_t three = (uint32_t)v.p[i] << 16;
        size_t have = v.n - i < 3 ? v.n - i : 3;

        if (have > 1)
            three |= (uint32_t)v.p[i + 1] << 8;
        if (have > 2)
            three |= v.p[i + 2];
        writer_u8(out, (uint8_t)base64_digits[three >> 18]);
        writer_u8(out, (uint8_t)base64_digits[three >> 12 & 63]);
        writer_u8(out, have > 1 ? (uint8_t)base64_digits[three >> 6 & 63] : '=');
        writer_u8(out, have > 2 ? (uint8_t)base64_digits[three & 63] : '=');
    }
}

/* Exactly n bytes in the one canonical spelling; anything else is refused. */
static bool base64_read(struct view text, uint8_t *out, size_t n)
{
    uint8_t again[SIG_CHARS];
    struct writer w;
    uint32_t bits = 0;
    unsigned have = 0;
    size_t written = 0;

    if (text.n != (n + 2) / 3 * 4 || text.n > sizeof again)
        return false;
    for (size_t i = 0; i < text.n && text.p[i] != '='; i++) {
        const char *at = text.p[i] ? strchr(base64_digits, text.p[i]) : NULL;

        if (!at)
            return false;
        bits = bits << 6 | (uint32_t)(at - base64_digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (written == n)
                return false;
            out[written] = (uint8_t)(bits >> have);
            written++;
        }
    }
    if (written != n)
        return false;
    writer_init_fixed(&w, (struct span){ again, sizeof again });
    base64_write(view_of(out, n), &w); /* padding and spare bits as they must be */
    return view_equal(writer_done(&w), text);
}

/* A name that can stand on a signature line. */
static bool is_origin(struct view v)
{
    if (v.n < 1 || v.n >= sizeof((struct checkpoint *)0)->origin)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] <= ' ' || v.p[i] >= 0x7f || v.p[i] == '+')
            return false;
    }
    return true;
}

static void keyid_make(struct view name, const struct verify_key *pk,
                       uint8_t out[KEYID_BYTES])
{
    uint8_t room[256];
    struct writer w;
    struct digest h;

    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_view(&w, name);
    writer_u8(&w, '\n');
    writer_u8(&w, ED25519_KEY_TYPE);
    writer_bytes(&w, pk->b, sizeof pk->b);
    INVARIANT(writer_ok(&w));
    h = digest_sha256(writer_done(&w));
    memcpy(out, h.b, KEYID_BYTES);
}

int checkpoint_sign(const struct checkpoint *c, const struct sign_key *srs,
                    struct writer *out)
{
    struct view origin = view_of(c->origin, strnlen(c->origin, sizeof c->origin));
    struct verify_key pk = sign_key_public(srs);
    uint8_t blob[KEYID_BYTES + SIG_BYTES];
    struct signature sig;
    size_t start = out->n;
    char size[24];

    if (!is_origin(origin))
        return PHR_E_FORMAT;
    snprintf(size, sizeof size, "\n%" PRIu64 "\n", c->size);
    writer_view(out, origin);
    writer_text(out, size);
    base64_write(view_of(c->root.b, sizeof c->root.b), out);
    writer_u8(out, '\n');
    if (!writer_ok(out))
        return -ENOMEM;
    sig = sign_bytes(srs, view_of(out->p + start, out->n - start));
    keyid_make(origin, &pk, blob);
    memcpy(blob + KEYID_BYTES, sig.b, sizeof sig.b);
    writer_text(out, "\n" NOTE_DASH);
    writer_view(out, origin);
    writer_u8(out, ' ');
    base64_write(view_of(blob, sizeof blob), out);
    writer_u8(out, '\n');
    return writer_ok(out) ? 0 : -ENOMEM;
}

/* Up to the next newline, which is eaten. */
static struct view line_read(struct reader *r)
{
    const uint8_t *end = r->left > 0 ? memchr(r->p, '\n', r->left) : NULL;
    struct view line = reader_view(r, end ? (size_t)(end - r->p) : r->left);

    reader_expect(r, "\n");
    return line;
}

/* Decimal, no sign, no leading zero. */
static bool size_read(struct view text, uint64_t *out_size)
{
    uint64_t n = 0;

    if (text.n < 1 || (text.n > 1 && text.p[0] == '0'))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t digit = (uint8_t)(text.p[i] - '0');

        if (digit > 9 || !checked_mul(n, (uint64_t)10, &n) || !checked_add(n, digit, &n))
            return false;
    }
    *out_size = n;
    return true;
}

int checkpoint_check(struct view note, const struct verify_key *srs,
                     struct checkpoint *out_checkpoint)
{
    struct reader r = reader_over(note);
    struct checkpoint c = { 0 };
    uint8_t blob[KEYID_BYTES + SIG_BYTES];
    uint8_t keyid[KEYID_BYTES];
    struct signature sig;
    struct view origin = line_read(&r);
    struct view size = line_read(&r);
    struct view root = line_read(&r);
    struct view text = view_of(note.p, note.n - r.left);

    reader_expect(&r, "\n" NOTE_DASH);
    if (!reader_ok(&r) || note.n > NOTE_BYTES_MAX || !is_origin(origin) ||
        !size_read(size, &c.size) || !base64_read(root, c.root.b, sizeof c.root.b))
        return PHR_E_FORMAT;
    if (!view_equal(reader_view(&r, origin.n), origin))
        return PHR_E_FORMAT;
    reader_expect(&r, " ");
    root = line_read(&r);
    if (!reader_done(&r) || !base64_read(root, blob, sizeof blob))
        return PHR_E_FORMAT;
    keyid_make(origin, srs, keyid);
    if (!view_equal(view_of(blob, KEYID_BYTES), view_of(keyid, KEYID_BYTES)))
        return PHR_E_SIGNATURE;
    memcpy(sig.b, blob + KEYID_BYTES, sizeof sig.b);
    if (sign_check_bytes(srs, text, &sig) < 0)
        return PHR_E_SIGNATURE;
    memcpy(c.origin, origin.p, origin.n);
    *out_checkpoint = c;
    return 0;
}
