#include "sidecar/sigv4.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/hex.h"
#include "base/secret.h"
#include "crypto/digest.h"

enum { REGION_BYTES_MAX = 64, PAIR_BYTES_MAX = 3 * 1100, SCOPE_BYTES_MAX = 128 };

struct sigv4 {
    const struct credentials *credentials; /* the caller's, longer than this */
    char region[REGION_BYTES_MAX];
    char day[9];          /* of the key below; "" before the first */
    struct digest *key;   /* SECRET, arena */
};

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c == '.' || c == '~';
}

static int encode(const char *raw, char extra, char *out, size_t room)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (; *raw; raw++) {
        uint8_t c = (uint8_t)*raw;

        if (n + 4 > room)
            return PHR_E_LIMIT;
        if (is_unreserved(*raw) || (extra && *raw == extra)) {
            out[n++] = *raw;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    if (n + 1 > room)
        return PHR_E_LIMIT;
    out[n] = '\0';
    return 0;
}

int sigv4_encode_path(const char *raw, char *out, size_t room)
{
    return encode(raw, '/', out, room);
}

/* The name ends before '=', which sorts above '-', '.' and digits: so compare the two apart. */
static int compare_pairs(const void *a, const void *b)
{
    const char *x = *(char *const *)a;
    const char *y = *(char *const *)b;
    size_t xn = strcspn(x, "=");
    size_t yn = strcspn(y, "=");
    int order = memcmp(x, y, xn < yn ? xn : yn);

    if (order != 0)
        return order;
    if (xn != yn)
        return xn < yn ? -1 : 1;
    return strcmp(x + xn, y + yn);
}

int sigv4_encode_query(const struct sigv4_pair *pairs, size_t count, char *out, size_t room)
{
    scoped(free) char *texts = calloc(SIGV4_PAIRS_MAX, PAIR_BYTES_MAX);
    char *sorted[SIGV4_PAIRS_MAX];
    size_t n = 0;

    if (!texts)
        return -ENOMEM;
    if (count > SIGV4_PAIRS_MAX || room == 0)
        return PHR_E_LIMIT;
    for (size_t i = 0; i < count; i++) {
        char *text = texts + i * PAIR_BYTES_MAX;
        int rc = encode(pairs[i].name, 0, text, PAIR_BYTES_MAX - 1);
        size_t at = strlen(text);

        if (rc < 0)
            return rc;
        text[at++] = '=';
        rc = encode(pairs[i].value, 0, text + at, PAIR_BYTES_MAX - at);
        if (rc < 0)
            return rc;
        sorted[i] = text;
    }
    if (count > 1)
        qsort(sorted, count, sizeof sorted[0], compare_pairs);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        int len = snprintf(out + n, room - n, "%s%s", i ? "&" : "", sorted[i]);

        if (len < 0 || (size_t)len >= room - n)
            return PHR_E_LIMIT;
        n += (size_t)len;
    }
    return 0;
}

int sigv4_new(const struct credentials *c, const char *region, struct sigv4 **out_signer)
{
    scoped(sigv4_free) struct sigv4 *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    if (strlen(region) >= sizeof s->region || region[0] == '\0')
        return PHR_E_CONFIG;
    s->credentials = c;
    memcpy(s->region, region, strlen(region) + 1);
    s->key = secret_alloc(sizeof *s->key);
    if (!s->key)
        return -ENOMEM;
    *out_signer = give(s);
    return 0;
}

void sigv4_free(struct sigv4 *s)
{
    if (!s)
        return;
    secret_free(s->key);
    free(s);
}

static void chain(struct digest *key, const char *text)
{
    struct digest next = digest_hmac(view_of(key->b, sizeof key->b), view_text(text));

    *key = next;
    secret_wipe(&next, sizeof next);
}

/* The key of the day: HMAC over date, region, service, in the arena from end to end. */
static int derive_key(struct sigv4 *s, const char *day)
{
    size_t secret_bytes = strlen(s->credentials->secret_key);
    scoped(secret_free) char *start = NULL;
    struct digest first;

    if (memcmp(s->day, day, 9) == 0)
        return 0;
    start = secret_alloc(secret_bytes + 4);
    if (!start)
        return -ENOMEM;
    memcpy(start, "AWS4", 4);
    memcpy(start + 4, s->credentials->secret_key, secret_bytes);
    first = digest_hmac(view_of(start, secret_bytes + 4), view_text(day));
    *s->key = first;
    secret_wipe(&first, sizeof first);
    chain(s->key, s->region);
    chain(s->key, "s3");
    chain(s->key, "aws4_request");
    memcpy(s->day, day, 9);
    return 0;
}

static int compare_headers(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

/* Trimmed, runs of blanks as one. */
static void put_header(struct writer *w, const struct sigv4_pair *h)
{
    bool gap = false;
    bool any = false;

    writer_text(w, h->name);
    writer_u8(w, ':');
    for (const char *c = h->value; *c; c++) {
        if (*c == ' ' || *c == '\t') {
            gap = any;
            continue;
        }
        if (gap)
            writer_u8(w, ' ');
        gap = false;
        any = true;
        writer_u8(w, (uint8_t)*c);
    }
    writer_u8(w, '\n');
}

static void put_names(struct writer *w, const struct sigv4_pair *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i)
            writer_u8(w, ';');
        writer_text(w, headers[i].name);
    }
}

static int format_time(uint64_t time_s, char out[SIGV4_DATE_BYTES])
{
    time_t t = (time_t)time_s;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || strftime(out, SIGV4_DATE_BYTES, "%Y%m%dT%H%M%SZ", &tm) != 16)
        return PHR_E_TIME_SKEW;
    return 0;
}

/* Hash of the canonical request. It holds the session token: the writer is wiped. */
static int hash_request(const struct sigv4_request *r, const struct sigv4_pair *headers,
                        size_t count, const char *payload, struct digest *out_hash)
{
    scoped(writer_fini) struct writer w;
    struct view done;

    writer_init(&w);
    writer_text(&w, r->method);
    writer_u8(&w, '\n');
    writer_text(&w, r->path);
    writer_u8(&w, '\n');
    writer_text(&w, r->query);
    writer_u8(&w, '\n');
    for (size_t i = 0; i < count; i++)
        put_header(&w, &headers[i]);
    writer_u8(&w, '\n');
    put_names(&w, headers, count);
    writer_u8(&w, '\n');
    writer_text(&w, payload);
    if (!writer_ok(&w))
        return -ENOMEM;
    done = writer_done(&w);
    *out_hash = digest_sha256(done);
    secret_wipe(w.p, w.n);
    return 0;
}

static int put_signature(struct sigv4 *s, const struct digest *hash,
                         const struct sigv4_pair *headers, size_t count,
                         struct sigv4_answer *io_answer)
{
    char scope[SCOPE_BYTES_MAX];
    char hex[65];
    char text[SCOPE_BYTES_MAX + 128];
    scoped(writer_fini) struct writer names;
    struct digest signature;
    int len;

    snprintf(scope, sizeof scope, "%.8s/%s/s3/aws4_request", io_answer->date, s->region);
    hex_encode(hash->b, sizeof hash->b, hex);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", io_answer->date, scope, hex);
    signature = digest_hmac(view_of(s->key->b, sizeof s->key->b), view_text(text));
    hex_encode(signature.b, sizeof signature.b, hex);
    writer_init(&names);
    put_names(&names, headers, count);
    writer_u8(&names, 0);
    if (!writer_ok(&names))
        return -ENOMEM;
    len = snprintf(io_answer->authorization, sizeof io_answer->authorization,
                   "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
                   s->credentials->access_key, scope, (const char *)writer_done(&names).p, hex);
    return len < 0 || (size_t)len >= sizeof io_answer->authorization ? PHR_E_LIMIT : 0;
}

int sigv4_sign(struct sigv4 *s, const struct sigv4_request *r, struct sigv4_answer *out_answer)
{
    struct sigv4_pair headers[SIGV4_PAIRS_MAX + 3];
    struct sigv4_answer a = { 0 };
    struct digest hash;
    char day[9] = { 0 };
    size_t count = r->header_count;
    int rc = count <= SIGV4_PAIRS_MAX ? format_time(r->time_s, a.date) : PHR_E_LIMIT;

    if (rc < 0)
        return rc;
    memcpy(day, a.date, 8);
    rc = derive_key(s, day);
    if (rc < 0)
        return rc;
    hex_encode(r->payload.b, sizeof r->payload.b, a.payload);
    if (count)
        memcpy(headers, r->headers, count * sizeof headers[0]);
    headers[count++] = (struct sigv4_pair){ "x-amz-date", a.date };
    headers[count++] = (struct sigv4_pair){ "x-amz-content-sha256", a.payload };
    if (s->credentials->session_token)
        headers[count++] =
            (struct sigv4_pair){ "x-amz-security-token", s->credentials->session_token };
    qsort(headers, count, sizeof headers[0], compare_headers);
    rc = hash_request(r, headers, count, a.payload, &hash);
    if (rc == 0)
        rc = put_signature(s, &hash, headers, count, &a);
    if (rc < 0)
        return rc;
    *out_answer = a;
    return 0;
}
