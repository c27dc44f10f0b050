#include "crypto/selftest_inputs.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/digest.h"

enum { TV_EPOCH = 3, TV_HDR_GEN = 1, TV_LABEL_BYTES_MAX = 64 };

static struct view tv_name(const char *label, char room[TV_LABEL_BYTES_MAX]);

void selftest_inputs_bytes(const char *label, void *out, size_t n)
{
    char room[TV_LABEL_BYTES_MAX];
    struct digest d = digest_sha256(tv_name(label, room));

    INVARIANT(n <= sizeof d.b);
    memcpy(out, d.b, n);
}

struct id16 selftest_inputs_id(const char *label)
{
    struct id16 id;

    selftest_inputs_bytes(label, id.b, sizeof id.b);
    return id;
}

void selftest_inputs_scalar(const char *label, struct scalar *out)
{
    char room[TV_LABEL_BYTES_MAX];
    struct view name = tv_name(label, room);
    uint8_t wide[64];

    crypto_hash_sha512(wide, name.p, name.n);
    crypto_core_ristretto255_scalar_reduce(out->b, wide);
}

struct file_ctx selftest_inputs_file(void)
{
    return (struct file_ctx){
        .class_ctx = { selftest_inputs_id("patient"), selftest_inputs_id("class"),
                       TV_EPOCH },
        .file = selftest_inputs_id("file"),
        .hdr_gen = TV_HDR_GEN,
    };
}

struct grant_ctx selftest_inputs_grant(void)
{
    struct grant_ctx g = {
        .class_ctx = { selftest_inputs_id("patient"), selftest_inputs_id("class"),
                       TV_EPOCH },
        .grant = selftest_inputs_id("grant"),
        .reader = selftest_inputs_id("reader"),
    };

    selftest_inputs_bytes("card", g.reader_card.b, sizeof g.reader_card.b);
    return g;
}

void selftest_inputs_hex(const char *hex, void *out, size_t n)
{
    INVARIANT(hex_decode(hex, out, n) == 0);
}

static struct view tv_name(const char *label, char room[TV_LABEL_BYTES_MAX])
{
    int n = snprintf(room, TV_LABEL_BYTES_MAX, "tv/%s", label);

    INVARIANT(n > 0 && n < TV_LABEL_BYTES_MAX);
    return view_of(room, (size_t)n);
}
