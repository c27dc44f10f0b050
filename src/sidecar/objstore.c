#include "sidecar/objstore.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "sidecar/objstore_s3.h"

int objstore_open(const struct objstore_config *config, struct objstore **out_store,
                  char *out_why, size_t why_bytes)
{
    int rc;

    if (strncmp(config->url, "s3://", 5) == 0)
        return objstore_s3_open(config, out_store, out_why, why_bytes);
    if (strncmp(config->url, "file:///", 8) != 0) {
        snprintf(out_why, why_bytes, "[store] url: expected file:///DIRECTORY or s3://BUCKET/...");
        return PHR_E_CONFIG;
    }
    rc = objstore_dir_open(config->url + 7, config->may_make, out_store);
    if (rc < 0)
        snprintf(out_why, why_bytes, "the store's directory: %s", phr_err_text(rc));
    return rc;
}

void objstore_close(struct objstore *s)
{
    if (s)
        s->ops->close(s);
}

bool objstore_is_key(const char *key)
{
    size_t part = 0;
    bool only_dots = true;
    size_t n = strlen(key);

    if (n == 0 || n > OBJSTORE_KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i <= n; i++) {
        char c = key[i];

        if (c == '/' || c == '\0') {
            if (part == 0 || only_dots)
                return false;
            part = 0;
            only_dots = true;
            continue;
        }
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
        part++;
        only_dots = only_dots && c == '.';
    }
    return true;
}

void objstore_note_set(struct objstore_note *n, enum objstore_blame blame, const char *format, ...)
{
    va_list args;

    n->blame = blame;
    va_start(args, format);
    vsnprintf(n->words, sizeof n->words, format, args);
    va_end(args);
}

int objstore_put(struct objstore *s, const struct objstore_put *put,
                 struct objstore_note *out_note)
{
    int rc;

    INVARIANT(objstore_is_key(put->key));
    memset(out_note, 0, sizeof *out_note);
    rc = s->ops->put(s, put, out_note);
    if (rc == 0) /* what was said on the way, about a key that was not there yet */
        memset(out_note, 0, sizeof *out_note);
    return rc;
}

int objstore_get(struct objstore *s, const char *key, int fd, uint64_t bytes_max,
                 uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
                 struct objstore_note *out_note)
{
    INVARIANT(objstore_is_key(key));
    memset(out_note, 0, sizeof *out_note);
    return s->ops->get(s, key, fd, bytes_max, timeout_ms, out_bytes, out_sha256, out_note);
}

int objstore_list(struct objstore *s, const char *prefix,
                  int (*on_key)(void *user, const char *key), void *user,
                  struct objstore_note *out_note)
{
    memset(out_note, 0, sizeof *out_note);
    return s->ops->list(s, prefix, on_key, user, out_note);
}

int objstore_probe(struct objstore *s, struct objstore_note *out_note)
{
    memset(out_note, 0, sizeof *out_note);
    return s->ops->probe(s, out_note);
}

void objstore_interrupt(struct objstore *s)
{
    s->ops->interrupt(s);
}
