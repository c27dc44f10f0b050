/*
 * S3REQ-1 Redirects are not followed (a session token would go with them), and only the
 *         schemes http and https are spoken.
 * S3REQ-2 The CURLcode is looked at first, the status second: after a reset the status may
 *         well say 100 or 200.
 * S3REQ-3 The body's hash is checked before its last bytes leave.
 * S3REQ-4 Signed per attempt, since the time is part of it.
 */
#include "sidecar/s3request.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "sidecar/s3request_test.h"
#include "sidecar/s3xml.h"

enum {
    HANDLES_MAX = 16, /* kept with their connections; more come and go */
    PATH_BYTES_MAX = 1024,
    QUERY_BYTES_MAX = 8 * 1024,
    CONNECT_TIMEOUT_MS = 5000,
    SLOW_BYTES_PER_S = 1024, /* below this for SLOW_S seconds: hung */
    SLOW_S = 20,
    WHOLE_TIMEOUT_MS = 10 * 60 * 1000,
    SKEW_S_MAX = 7 * 24 * 3600,
    SMALL_BODY_BYTES_MAX = S3XML_BYTES_MAX
};

struct s3session {
    struct s3url url; /* fixed after new, as the next two */
    const char *session_token;
    char *ca_file;
    atomic_bool is_interrupted;
    atomic_llong skew_s;
    atomic_bool may_learn;
    pthread_mutex_t lock;
    struct sigv4 *signer;       /* lock */
    CURL *handles[HANDLES_MAX]; /* lock */
    size_t handle_count;        /* lock */
};

struct target {
    char raw[512];
    char path[PATH_BYTES_MAX];
    char query[QUERY_BYTES_MAX];
    char url[260 + PATH_BYTES_MAX + QUERY_BYTES_MAX];
};

struct exchange {
    struct s3session *session;
    const struct s3request *request;
    struct s3answer *answer;
    CURL *curl;
    struct digest_stream *stream; /* of what goes out, or comes in to to_fd */
    uint64_t sent;
    size_t body_room;
    int rc; /* why a callback stopped it */
};

static int send_once(struct s3session *s, const struct s3request *r, struct s3answer *a,
                     struct objstore_note *note);
static int sign(struct s3session *s, const struct s3request *r, const char *path,
                const char *query, struct curl_slist **out_headers);
static int perform(struct exchange *x, const char *url, struct curl_slist *headers,
                   struct objstore_note *note);

int s3session_new(const struct s3url *url, const struct credentials *credentials,
                  const char *ca_file, struct s3session **out_session)
{
    scoped(s3session_free) struct s3session *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->url = *url;
    atomic_init(&s->may_learn, true);
    s->session_token = credentials->session_token;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return PHR_E_SELFTEST;
    if (ca_file && ca_file[0]) {
        s->ca_file = strdup(ca_file);
        if (!s->ca_file)
            return -ENOMEM;
    }
    rc = sigv4_new(credentials, url->region, &s->signer);
    if (rc < 0)
        return rc;
    *out_session = give(s);
    return 0;
}

void s3session_free(struct s3session *s)
{
    if (!s)
        return;
    while (s->handle_count > 0)
        curl_easy_cleanup(s->handles[--s->handle_count]);
    sigv4_free(s->signer);
    pthread_mutex_destroy(&s->lock);
    free(s->ca_file);
    free(s);
}

void s3session_interrupt(struct s3session *s)
{
    atomic_store(&s->is_interrupted, true);
}

void s3request_test_skew(struct s3session *s, int64_t seconds, bool may_learn)
{
    atomic_store(&s->skew_s, seconds);
    atomic_store(&s->may_learn, may_learn);
}

void s3answer_fini(struct s3answer *a)
{
    free(a->body);
    memset(a, 0, sizeof *a);
}

/* True when the server's clock was learnt and another try makes sense. */
static bool learn_skew(struct s3session *s, const struct s3answer *a)
{
    int64_t now = (int64_t)clock_realtime_s();
    int64_t skew = (int64_t)a->date_s - now;

    if (a->date_s == 0 || strcmp(a->code, "RequestTimeTooSkewed") != 0 ||
        !atomic_load(&s->may_learn))
        return false;
    if (skew > SKEW_S_MAX || skew < -SKEW_S_MAX)
        return false; /* a server of another century is not to be humoured */
    atomic_store(&s->skew_s, skew);
    log_warn("store_clock_differs", LOG_U64("seconds", (uint64_t)(skew < 0 ? -skew : skew)),
             LOG_WORD("ours", skew < 0 ? "ahead" : "behind"));
    return true;
}

int s3request_send(struct s3session *s, const struct s3request *r, struct s3answer *out_answer,
                   struct objstore_note *out_note)
{
    struct s3answer a = { 0 };
    int rc = send_once(s, r, &a, out_note);

    if (rc == 0 && learn_skew(s, &a)) {
        s3answer_fini(&a);
        rc = send_once(s, r, &a, out_note);
    }
    if (rc < 0) {
        s3answer_fini(&a);
        return rc;
    }
    *out_answer = a;
    return 0;
}

static CURL *borrow_handle(struct s3session *s)
{
    CURL *curl = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->handle_count > 0)
        curl = s->handles[--s->handle_count];
    pthread_mutex_unlock(&s->lock);
    return curl ? curl : curl_easy_init();
}

static void release_handle(struct s3session *s, CURL *curl)
{
    curl_easy_reset(curl); /* keeps the connections */
    pthread_mutex_lock(&s->lock);
    if (s->handle_count < HANDLES_MAX) {
        s->handles[s->handle_count++] = curl;
        curl = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (curl)
        curl_easy_cleanup(curl);
}

static void headers_free(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h; h = h->next)
        secret_wipe(h->data, strlen(h->data)); /* one may be the session token */
    curl_slist_free_all(headers);
}

static int add_header(struct curl_slist **io_list, const char *name, const char *value)
{
    scoped(free) char *line = NULL;
    struct curl_slist *longer = NULL;

    if (asprintf(&line, "%s: %s", name, value) >= 0)
        longer = curl_slist_append(*io_list, line);
    if (line)
        secret_wipe(line, strlen(line));
    if (!longer)
        return -ENOMEM;
    *io_list = longer;
    return 0;
}

static int send_once(struct s3session *s, const struct s3request *r, struct s3answer *a,
                     struct objstore_note *note)
{
    scoped(free) struct target *t = calloc(1, sizeof *t);
    struct exchange x = { .session = s, .request = r, .answer = a };
    struct curl_slist *headers = NULL;
    int rc;

    if (!t)
        return -ENOMEM;
    if (r->key[0])
        snprintf(t->raw, sizeof t->raw, "/%s/%s%s", s->url.bucket, s->url.prefix, r->key);
    else /* the bucket itself */
        snprintf(t->raw, sizeof t->raw, "/%s", s->url.bucket);
    rc = sigv4_encode_path(t->raw, t->path, sizeof t->path);
    if (rc == 0)
        rc = sigv4_encode_query(r->query, r->query_count, t->query, sizeof t->query);
    if (rc == 0)
        rc = sign(s, r, t->path, t->query, &headers);
    snprintf(t->url, sizeof t->url, "%s%s%s%s", s->url.endpoint, t->path, t->query[0] ? "?" : "",
             t->query);
    if (rc == 0)
        rc = perform(&x, t->url, headers, note);
    headers_free(headers);
    digest_stream_free(x.stream);
    return rc;
}

static int sign(struct s3session *s, const struct s3request *r, const char *path,
                const char *query, struct curl_slist **out_headers)
{
    struct sigv4_pair signed_headers[2] = { { "host", s->url.host } };
    struct sigv4_request q = { .method = r->method, .path = path, .query = query,
                               .headers = signed_headers, .header_count = 1 };
    struct sigv4_answer a;
    int rc;

    if (r->if_none_match)
        signed_headers[q.header_count++] = (struct sigv4_pair){ "if-none-match", "*" };
    q.payload = r->body ? r->body->sha256 : digest_sha256(view_of(NULL, 0));
    q.time_s = (uint64_t)((int64_t)clock_realtime_s() + atomic_load(&s->skew_s));
    pthread_mutex_lock(&s->lock);
    rc = sigv4_sign(s->signer, &q, &a);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        rc = add_header(out_headers, "Host", s->url.host);
    if (rc == 0 && r->if_none_match)
        rc = add_header(out_headers, "If-None-Match", "*");
    if (rc == 0)
        rc = add_header(out_headers, "x-amz-date", a.date);
    if (rc == 0)
        rc = add_header(out_headers, "x-amz-content-sha256", a.payload);
    if (rc == 0 && s->session_token)
        rc = add_header(out_headers, "x-amz-security-token", s->session_token);
    if (rc == 0)
        rc = add_header(out_headers, "Authorization", a.authorization);
    if (rc == 0) { /* no round trip before the body */
        struct curl_slist *longer = curl_slist_append(*out_headers, "Expect:");

        if (!longer)
            return -ENOMEM;
        *out_headers = longer;
    }
    return rc;
}

static int stop_with(struct exchange *x, int rc)
{
    if (x->rc == 0)
        x->rc = rc;
    return rc;
}

/* S3REQ-3 */
static size_t on_read(char *to, size_t size, size_t count, void *user)
{
    struct exchange *x = user;
    const struct objstore_put *body = x->request->body;
    uint64_t left = body->bytes - x->sent;
    size_t n = size * count;
    int rc;

    if (n > left)
        n = (size_t)left;
    if (n == 0)
        return 0;
    rc = fdio_pread_all(body->fd, to, n, body->offset + x->sent);
    if (rc < 0) {
        ignored(stop_with(x, rc == -ENODATA ? PHR_E_SEAL : rc)); /* curl is told by the value below */
        return CURL_READFUNC_ABORT;
    }
    digest_stream_add(x->stream, view_of(to, n));
    x->sent += n;
    if (x->sent == body->bytes) {
        struct digest have = digest_stream_finish(give(x->stream));

        if (!digest_equal(&have, &body->sha256)) {
            ignored(stop_with(x, PHR_E_SEAL)); /* as above */
            return CURL_READFUNC_ABORT;
        }
    }
    return n;
}

/* libcurl starts over when a kept connection turns out dead. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct exchange *x = user;

    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_CANTSEEK;
    digest_stream_free(x->stream);
    x->stream = digest_stream_new();
    x->sent = 0;
    return x->stream ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static int keep_small_body(struct exchange *x, const char *p, size_t n)
{
    struct s3answer *a = x->answer;

    if (n > SMALL_BODY_BYTES_MAX - a->body_bytes)
        return stop_with(x, -EFBIG);
    if (a->body_bytes + n > x->body_room) {
        size_t room = (a->body_bytes + n) * 2;
        uint8_t *more = realloc(a->body, room);

        if (!more)
            return stop_with(x, -ENOMEM);
        a->body = more;
        x->body_room = room;
    }
    memcpy(a->body + a->body_bytes, p, n);
    a->body_bytes += n;
    return 0;
}

static size_t on_write(char *p, size_t size, size_t count, void *user)
{
    struct exchange *x = user;
    struct s3answer *a = x->answer;
    size_t n = size * count;
    long status = 0;
    int rc;

    ignored(curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status)); /* then it stays 0 */
    if (x->request->to_fd < 0 || status < 200 || status > 299)
        return keep_small_body(x, p, n) < 0 ? 0 : n;
    if (n > x->request->bytes_max - a->bytes) {
        ignored(stop_with(x, -EFBIG)); /* curl is told by the short count */
        return 0;
    }
    rc = fdio_pwrite_all(x->request->to_fd, p, n, a->bytes);
    if (rc < 0) {
        ignored(stop_with(x, rc)); /* as above */
        return 0;
    }
    digest_stream_add(x->stream, view_of(p, n));
    a->bytes += n;
    return n;
}

void s3request_parse_header(struct view line, struct s3answer *io_answer)
{
    char text[128];

    if (line.n >= sizeof text)
        return;
    memcpy(text, line.p, line.n);
    text[line.n] = '\0';
    if (strncasecmp(text, "date:", 5) == 0) {
        time_t t = curl_getdate(text + 5, NULL);

        io_answer->date_s = t > 0 ? (uint64_t)t : 0;
    } else if (strncasecmp(text, "retry-after:", 12) == 0) {
        long seconds = strtol(text + 12, NULL, 10); /* a date there counts as nothing */

        io_answer->retry_after_s =
            seconds > 0 && seconds < RETRY_AFTER_S_MAX ? (uint32_t)seconds : 0;
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct exchange *x = user;

    s3request_parse_header(view_of((const uint8_t *)line, size * count), x->answer);
    return size * count;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct exchange *x = user;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return atomic_load(&x->session->is_interrupted) ? 1 : 0;
}

/* One option after the other; the first that libcurl refuses is remembered. */
#define SET(option, value)                                                                 \
    do {                                                                                   \
        if (code == CURLE_OK)                                                              \
            code = curl_easy_setopt(x->curl, (option), (value));                           \
    } while (0)

static CURLcode set_options(struct exchange *x, const char *url, struct curl_slist *headers)
{
    const struct s3request *r = x->request;
    struct s3session *s = x->session;
    CURLcode code = CURLE_OK;

    SET(CURLOPT_URL, url);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_USERAGENT, "phrd/" PHR_VERSION);
    SET(CURLOPT_FOLLOWLOCATION, 0L); /* S3REQ-1 */
    SET(CURLOPT_PROTOCOLS_STR, s->url.is_tls ? "https" : "http");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (s->ca_file)
        SET(CURLOPT_CAINFO, s->ca_file); /* beside the system's directory of anchors */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
    SET(CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    SET(CURLOPT_TIMEOUT_MS, r->timeout_ms ? (long)r->timeout_ms : (long)WHOLE_TIMEOUT_MS);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    if (strcmp(r->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    if (r->body) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, x);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, x);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body->bytes);
    }
    return code;
}

static int explain(const struct exchange *x, CURLcode code, struct objstore_note *note)
{
    if (x->rc == PHR_E_SEAL) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "the bytes are not what their name says");
        return x->rc;
    }
    if (x->rc == -EFBIG) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "longer than expected");
        return x->rc;
    }
    if (x->rc < 0) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "local file: %s", phr_err_text(x->rc));
        return x->rc;
    }
    objstore_note_set(note, OBJSTORE_BLAME_STORE, "the object store does not answer: %s",
                      curl_easy_strerror(code));
    return PHR_E_STORE;
}

static int perform(struct exchange *x, const char *url, struct curl_slist *headers,
                   struct objstore_note *note)
{
    struct s3answer *a = x->answer;
    CURLcode code;
    struct s3xml_error error;
    long status = 0;

    x->stream = digest_stream_new();
    x->curl = borrow_handle(x->session);
    if (!x->stream || !x->curl) {
        if (x->curl)
            release_handle(x->session, x->curl);
        return -ENOMEM;
    }
    code = set_options(x, url, headers);
    if (code == CURLE_OK)
        code = curl_easy_perform(x->curl);
    if (code == CURLE_OK) /* S3REQ-2 */
        code = curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    release_handle(x->session, x->curl);
    if (code != CURLE_OK)
        return explain(x, code, note);
    a->status = (int)status;
    if (x->request->to_fd >= 0 && x->stream)
        a->sha256 = digest_stream_finish(give(x->stream));
    if (a->body_bytes > 0 && s3xml_parse_error(view_of(a->body, a->body_bytes), &error) == 0) {
        memcpy(a->code, error.code, sizeof a->code);
        memcpy(a->message, error.message, sizeof a->message);
    }
    return 0;
}
