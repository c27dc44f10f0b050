#include "format/suspension.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "crypto/label.h"

static bool is_sound(const struct suspension *s)
{
    if (s->count > SUSPENSION_USERS_MAX || s->users.n != (size_t)s->count * 16)
        return false;
    for (uint32_t i = 1; i < s->count; i++) {
        if (memcmp(s->users.p + (size_t)(i - 1) * 16, s->users.p + (size_t)i * 16, 16) >= 0)
            return false;
    }
    return true;
}

int suspension_encode(const struct suspension *s, const struct sign_key *authority, struct writer *out)
{
    const size_t start = out->n;
    struct signature sig;
    struct digest hash;

    if (!is_sound(s))
        return PHR_E_LIMIT;
    writer_text(out, "PHRFS-B1");
    writer_u64(out, s->serial);
    writer_u64(out, s->time_s);
    writer_u32(out, s->count);
    writer_view(out, s->users);
    if (!writer_ok(out))
        return -ENOMEM;
    hash = digest_sha256(view_of(out->p + start, out->n - start));
    sig = sign_labelled(authority, LABEL_CARD, &hash);
    writer_bytes(out, sig.b, sizeof sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int suspension_check(struct view bytes, const struct verify_key *authority, struct suspension *out_list)
{
    struct reader r = reader_over(bytes);
    struct suspension s = { 0 };
    struct signature sig;
    struct digest hash;

    reader_expect(&r, "PHRFS-B1");
    s.serial = reader_u64(&r);
    s.time_s = reader_u64(&r);
    s.count = reader_u32(&r);
    if (s.count > SUSPENSION_USERS_MAX)
        return PHR_E_FORMAT;
    s.users = reader_view(&r, (size_t)s.count * 16);
    reader_bytes(&r, sig.b, sizeof sig.b);
    if (!reader_done(&r) || !is_sound(&s))
        return PHR_E_FORMAT;
    hash = digest_sha256(view_of(bytes.p, bytes.n - sizeof sig.b));
    if (sign_check_labelled(authority, LABEL_CARD, &hash, &sig) < 0)
        return PHR_E_SIGNATURE;
    *out_list = s;
    return 0;
}

struct id16 suspension_get_user(const struct suspension *s, uint32_t index)
{
    struct id16 user;

    INVARIANT(index < s->count);
    memcpy(user.b, s->users.p + (size_t)index * 16, sizeof user.b);
    return user;
}
