/*
 * K_spool is fresh for each spool file; each record draws a random 24-byte nonce under it. A
 * record names its number and, by prev, all records before it.
 */
#include "format/spool_record.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/aead.h"
#include "crypto/seal.h"

enum {
    HEADER_AAD_BYTES = 5 + 16 + 8,
    RECORD_AAD_BYTES = 16 + 8 + 32,
    RECORD_LEN_MIN = 8 + AEAD_BOX_EXTRA_BYTES, /* what stands behind the length */
};
static_assert(SPOOL_HEADER_BYTES == 24 + 32 + SEAL_EXTRA_BYTES,
              "host, number, sealed key");
static_assert(SPOOL_RECORD_EXTRA_BYTES == 4 + RECORD_LEN_MIN, "length, number, box");

static void header_aad(const struct id16 *host, uint64_t no,
                       uint8_t out[HEADER_AAD_BYTES])
{
    memcpy(out, "spool", 5);
    memcpy(out + 5, host->b, 16);
    put_le64(out + 21, no);
}

int spool_header_encode(const struct id16 *host, uint64_t no, const struct point *srs,
                        const struct symkey *k_spool, uint8_t out[SPOOL_HEADER_BYTES])
{
    uint8_t aad[HEADER_AAD_BYTES];

    header_aad(host, no, aad);
    memcpy(out, host->b, 16);
    put_le64(out + 16, no);
    return seal_to(srs, view_of(aad, sizeof aad), view_of(k_spool->b, sizeof k_spool->b),
                   (struct span){ out + 24, SPOOL_HEADER_BYTES - 24 });
}

int spool_header_open(struct view header, const struct scalar *srs, struct id16 *out_host,
                      uint64_t *out_no, struct symkey *out_key)
{
    uint8_t aad[HEADER_AAD_BYTES];
    struct id16 host;
    uint64_t no;
    int rc;

    if (header.n != SPOOL_HEADER_BYTES)
        return PHR_E_FORMAT;
    memcpy(host.b, header.p, sizeof host.b);
    no = get_le64(header.p + 16);
    header_aad(&host, no, aad);
    rc = seal_open(srs, view_of(aad, sizeof aad), view_of(header.p + 24, header.n - 24),
                   (struct span){ out_key->b, sizeof out_key->b });
    if (rc < 0)
        return rc;
    *out_host = host;
    *out_no = no;
    return 0;
}

static void record_aad(const struct id16 *host, uint64_t n, const struct digest *prev,
                       uint8_t out[RECORD_AAD_BYTES])
{
    memcpy(out, host->b, 16);
    put_le64(out + 16, n);
    memcpy(out + 24, prev->b, 32);
}

int spool_record_seal(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view event, struct writer *out)
{
    uint8_t aad[RECORD_AAD_BYTES];
    size_t box_bytes;
    size_t start;

    if (event.n > EVENT_BYTES_MAX)
        return PHR_E_LIMIT;
    box_bytes = event.n + AEAD_BOX_EXTRA_BYTES;
    record_aad(host, n, prev, aad);
    writer_u32(out, (uint32_t)(8 + box_bytes));
    writer_u64(out, n);
    start = out->n;
    writer_zeros(out, box_bytes);
    if (!writer_ok(out))
        return -ENOMEM;
    return aead_box(k_spool, view_of(aad, sizeof aad), event,
                    (struct span){ out->p + start, box_bytes });
}

int spool_record_open(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view bytes, size_t *out_used,
                      struct writer *plain)
{
    struct reader r = reader_over(bytes);
    uint32_t len = reader_u32(&r);
    uint8_t aad[RECORD_AAD_BYTES];
    size_t start = plain->n;
    struct view box;
    uint64_t stored_n;
    int rc;

    if (!reader_ok(&r) || len < RECORD_LEN_MIN || len > RECORD_LEN_MIN + EVENT_BYTES_MAX)
        return PHR_E_FORMAT;
    stored_n = reader_u64(&r);
    box = reader_view(&r, len - 8);
    if (!reader_ok(&r))
        return PHR_E_FORMAT;
    if (stored_n != n)
        return PHR_E_SEAL; /* as if it had been re-ordered */
    writer_zeros(plain, len - RECORD_LEN_MIN);
    if (!writer_ok(plain))
        return -ENOMEM;
    record_aad(host, n, prev, aad);
    rc = aead_open_box(k_spool, view_of(aad, sizeof aad), box,
                       (struct span){ plain->p ? plain->p + start : NULL, plain->n - start });
    if (rc < 0) {
        plain->n = start;
        return rc;
    }
    *out_used = 4 + (size_t)len;
    return 0;
}
