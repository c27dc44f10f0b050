/*
 * S3-1 Write-once by names: objects are called by their hash, ledger entries by their number.
 *      If-None-Match: * goes along where the server knows it; nothing depends on it.
 * S3-2 412 means "it is there", maybe by our own earlier try whose answer was lost: what is
 *      there is read and compared. Only the same bytes are success.
 * S3-3 Only 2xx is success, only 412 is "there already"; all else is unknown and tried again.
 *      A timed out PUT may still land later; the next try finds it by S3-2.
 * S3-4 A key that is no hash of its content (is_sole) is looked for first, since a server that
 *      ignores conditions would let us write over it.
 */
#include "sidecar/objstore_s3.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/fdio.h"
#include "crypto/digest.h"
#include "sidecar/objstore_s3_test.h"
#include "sidecar/s3request.h"
#include "sidecar/s3xml.h"

enum { LIST_PAGES_MAX = 100000, PROBE_TIMEOUT_MS = 10000 };

struct s3_store {
    struct objstore base;
    struct s3url url;
    struct credentials *credentials;
    struct s3session *session;
    atomic_bool has_conditions; /* until a 501 says otherwise */
};

static const struct objstore_ops s3_ops;

int objstore_s3_open(const struct objstore_config *config, struct objstore **out_store,
                     char *out_why, size_t why_bytes)
{
    scoped(objstore_close) struct objstore *base = NULL;
    struct s3_store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->base.ops = &s3_ops;
    base = &s->base;
    atomic_init(&s->has_conditions, true);
    rc = s3url_parse(config->url, &s->url, out_why, why_bytes);
    if (rc < 0)
        return rc;
    if (!config->credentials || !config->credentials[0]) {
        snprintf(out_why, why_bytes, "[store] credentials: an s3:// store needs a key pair");
        return PHR_E_CONFIG;
    }
    rc = credentials_load(config->credentials, &s->credentials, out_why, why_bytes);
    if (rc < 0)
        return rc;
    rc = s3session_new(&s->url, s->credentials, config->ca_file, &s->session);
    if (rc < 0) {
        snprintf(out_why, why_bytes, "the S3 client: %s", phr_err_text(rc));
        return rc;
    }
    *out_store = give(base);
    return 0;
}

static void s3_close(struct objstore *base)
{
    struct s3_store *s = (struct s3_store *)base;

    s3session_free(s->session); /* before the credentials that it borrows */
    credentials_free(s->credentials);
    free(s);
}

static void s3_interrupt(struct objstore *base)
{
    s3session_interrupt(((struct s3_store *)base)->session);
}

struct s3session *objstore_s3_test_session(struct objstore *base)
{
    return ((struct s3_store *)base)->session;
}

static bool is_one_of(const char *code, const char *const *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(code, codes[i]) == 0)
            return true;
    }
    return false;
}

/* Errors that say more about us or the account than about the object. */
static bool is_about_store(const struct s3answer *a)
{
    static const char *const codes[] = {
        "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed",
        "NoSuchBucket", "InvalidBucketName", "QuotaExceeded", "RequestTimeTooSkewed",
        "ServiceUnavailable", "SlowDown", "InternalError", "OperationAborted"
    };

    return a->status == 401 || a->status == 403 || a->status == 429 || a->status == 500 ||
           a->status == 502 || a->status == 503 || a->status == 504 || a->status / 100 == 3 ||
           is_one_of(a->code, codes, ARRAY_COUNT(codes));
}

static bool is_about_way(const struct s3answer *a)
{
    static const char *const codes[] = { "XAmzContentSHA256Mismatch", "BadDigest",
                                         "IncompleteBody", "RequestTimeout",
                                         "ConditionalRequestConflict" };

    return a->status == 408 || a->status == 409 || a->status / 100 == 2 || is_one_of(a->code, codes, ARRAY_COUNT(codes));
}

static const char *advice_for(const struct s3answer *a)
{
    static const struct {
        const char *code;
        const char *advice;
    } table[] = {
        { "SignatureDoesNotMatch", ": the secret key is wrong, or something changed the request" },
        { "InvalidAccessKeyId", ": the access key is not known there" },
        { "AccessDenied", ": the key pair may not do this" },
        { "RequestTimeTooSkewed", ": this machine's clock is wrong" },
        { "NoSuchBucket", ": make the bucket first" },
        { "XAmzContentSHA256Mismatch", ": other bytes arrived than were sent" },
        { "BadDigest", ": other bytes arrived than were sent" },
        { "QuotaExceeded", ": the account is full" },
    };

    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (strcmp(a->code, table[i].code) == 0)
            return table[i].advice;
    }
    if (a->status / 100 == 3)
        return ": it redirects; check endpoint and region";
    return "";
}

/* What a status that is no success means for the queue. */
static int judge(const struct s3answer *a, struct objstore_note *note)
{
    enum objstore_blame blame = OBJSTORE_BLAME_ITEM;

    if (is_about_store(a))
        blame = OBJSTORE_BLAME_STORE;
    else if (is_about_way(a))
        blame = OBJSTORE_BLAME_WAY;
    note->http_status = a->status;
    note->retry_after_s = a->retry_after_s;
    objstore_note_set(note, blame, "the object store answered %d%s%s%s", a->status,
                      a->code[0] ? " " : "", a->code, advice_for(a));
    return blame == OBJSTORE_BLAME_ITEM ? PHR_E_STORE_REFUSED : PHR_E_STORE;
}

static int s3_get(struct objstore *base, const char *key, int fd, uint64_t bytes_max,
                  uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
                  struct objstore_note *note)
{
    struct s3_store *s = (struct s3_store *)base;
    struct s3request r = { .method = "GET", .key = key, .to_fd = fd, .bytes_max = bytes_max,
                           .timeout_ms = timeout_ms };
    struct s3answer a = { 0 };
    int rc = s3request_send(s->session, &r, &a, note);

    if (rc == 0 && a.status == 404 && (a.code[0] == '\0' || strcmp(a.code, "NoSuchKey") == 0)) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "not in the store");
        note->http_status = 404;
        rc = -ENOENT;
    } else if (rc == 0 && a.status != 200) {
        rc = judge(&a, note);
    }
    if (rc == 0) {
        *out_bytes = a.bytes;
        *out_sha256 = a.sha256;
    }
    s3answer_fini(&a);
    return rc;
}

/* S3-2. 0: the same; -ENOENT; PHR_E_FORK. */
static int compare(struct s3_store *s, const struct objstore_put *put, struct objstore_note *note)
{
    scoped(close_fd) int fd = -1; /* only its hash is wanted */
    struct digest have;
    uint64_t bytes = 0;
    int rc = fdio_open(AT_FDCWD, "/dev/null", O_WRONLY, 0, &fd);

    if (rc < 0)
        return rc;
    rc = s3_get(&s->base, put->key, fd, put->bytes, 0, &bytes, &have, note);
    if (rc == 0 && bytes == put->bytes && digest_equal(&have, &put->sha256))
        return 0;
    if (rc == 0 || rc == -EFBIG) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "the store holds other content under this key");
        rc = PHR_E_FORK;
    }
    return rc;
}

static int s3_put(struct objstore *base, const struct objstore_put *put,
                  struct objstore_note *note)
{
    struct s3_store *s = (struct s3_store *)base;
    struct s3request r = { .method = "PUT", .key = put->key, .body = put, .to_fd = -1 };
    struct s3answer a = { 0 };
    int rc;

    if (put->is_sole) { /* S3-4 */
        rc = compare(s, put, note);
        if (rc != -ENOENT)
            return rc;
    }
    r.if_none_match = atomic_load(&s->has_conditions);
    rc = s3request_send(s->session, &r, &a, note);
    if (rc == 0 && a.status == 501 && r.if_none_match) {
        atomic_store(&s->has_conditions, false);
        s3answer_fini(&a);
        r.if_none_match = false;
        rc = s3request_send(s->session, &r, &a, note);
    }
    if (rc == 0 && a.status == 412) {
        rc = compare(s, put, note);
        if (rc == -ENOENT) /* there and not there: let it settle */
            rc = judge(&a, note);
    } else if (rc == 0 && (a.status / 100 != 2 || a.code[0])) { /* a 200 may carry an Error */
        rc = judge(&a, note);
    }
    s3answer_fini(&a);
    return rc;
}

static int list_page(struct s3_store *s, const char *prefix, const char *token,
                     struct s3xml_page *out_page, struct objstore_note *note)
{
    char full[sizeof s->url.prefix + OBJSTORE_KEY_BYTES_MAX + 1];
    struct sigv4_pair query[4] = { { "list-type", "2" }, { "max-keys", "1000" }, { "prefix", full } };
    struct s3request r = { .method = "GET", .key = "", .query = query, .query_count = 3,
                           .to_fd = -1, .timeout_ms = 60000 };
    struct s3answer a = { 0 };
    int rc;

    snprintf(full, sizeof full, "%s%s", s->url.prefix, prefix);
    if (token[0])
        query[r.query_count++] = (struct sigv4_pair){ "continuation-token", token };
    rc = s3request_send(s->session, &r, &a, note);
    if (rc == 0 && a.status != 200)
        rc = judge(&a, note);
    if (rc == 0) {
        rc = s3xml_parse_list(view_of(a.body, a.body_bytes), out_page);
        if (rc == PHR_E_FORMAT) {
            objstore_note_set(note, OBJSTORE_BLAME_STORE, "the object store's list is not readable");
            rc = PHR_E_STORE;
        }
    }
    s3answer_fini(&a);
    return rc;
}

static int s3_list(struct objstore *base, const char *prefix,
                   int (*on_key)(void *user, const char *key), void *user,
                   struct objstore_note *note)
{
    struct s3_store *s = (struct s3_store *)base;
    char last[OBJSTORE_KEY_BYTES_MAX + 1] = "";
    char token[S3XML_TOKEN_BYTES_MAX] = "";
    size_t skip = strlen(s->url.prefix);

    for (unsigned n = 0; n < LIST_PAGES_MAX; n++) {
        struct s3xml_page page = { 0 };
        int rc = list_page(s, prefix, token, &page, note);

        for (size_t i = 0; rc == 0 && i < page.count; i++) {
            const char *key = page.keys[i];

            if (strncmp(key, s->url.prefix, skip) != 0 || !objstore_is_key(key + skip))
                continue; /* not ours */
            key += skip;
            if (strcmp(key, last) <= 0) {
                objstore_note_set(note, OBJSTORE_BLAME_STORE, "the object store's list is not in order");
                rc = PHR_E_STORE;
                break;
            }
            memcpy(last, key, strlen(key) + 1);
            rc = on_key(user, key);
        }
        memcpy(token, page.token, sizeof token);
        if (rc == 0 && !page.is_truncated)
            n = LIST_PAGES_MAX;
        s3xml_page_fini(&page);
        if (rc < 0 || n == LIST_PAGES_MAX)
            return rc;
    }
    objstore_note_set(note, OBJSTORE_BLAME_STORE, "the object store's list has no end");
    return PHR_E_STORE;
}

static int s3_probe(struct objstore *base, struct objstore_note *note)
{
    struct s3_store *s = (struct s3_store *)base;
    struct sigv4_pair query[] = { { "list-type", "2" }, { "max-keys", "1" },
                                  { "prefix", s->url.prefix } };
    struct s3request r = { .method = "GET", .key = "", .query = query, .query_count = 3,
                           .to_fd = -1, .timeout_ms = PROBE_TIMEOUT_MS };
    struct s3answer a = { 0 };
    int rc = s3request_send(s->session, &r, &a, note);

    if (rc == 0 && a.status != 200)
        rc = judge(&a, note);
    s3answer_fini(&a);
    return rc;
}

static const struct objstore_ops s3_ops = {
    .puts_at_once = 4,
    .put = s3_put,
    .get = s3_get,
    .list = s3_list,
    .probe = s3_probe,
    .interrupt = s3_interrupt,
    .close = s3_close,
};
