/*
 * A place for write-once objects: a directory or an S3 bucket behind one table of functions.
 * All of them may be called from several threads at once and block, at most for a bounded time.
 *
 * Keys: lower-case letters, digits, '-', '.' and '/', no empty, "." or ".." part.
 */
#ifndef PHR_SIDECAR_OBJSTORE_H
#define PHR_SIDECAR_OBJSTORE_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

/* The largest object is the manifest of a 16 TiB file. */
enum { OBJSTORE_KEY_BYTES_MAX = 200, OBJSTORE_OBJECT_BYTES_MAX = 512 * 1024 * 1024 };

/* Whose fault a failure is decides what the queue does with it. */
enum objstore_blame {
    OBJSTORE_BLAME_NONE,
    OBJSTORE_BLAME_STORE, /* away, overloaded, or refuses us: everything waits */
    OBJSTORE_BLAME_ITEM,  /* this one, in good times too: parked at once */
    OBJSTORE_BLAME_WAY    /* this one on its way: a few more tries, then parked */
};

struct objstore_note { /* filled on failure */
    enum objstore_blame blame;
    int http_status;        /* 0: none came */
    uint32_t retry_after_s; /* what the server asked for, 0 = nothing */
    char words[200];        /* for people; no key, no secret */
};

struct objstore_put {
    const char *key;
    int fd; /* a regular file, stays the caller's */
    uint64_t offset;
    uint64_t bytes;
    struct digest sha256; /* what they must hash to */
    bool is_sole; /* the key is no hash of the content: look before writing */
};

struct objstore;
struct objstore_ops {
    size_t puts_at_once; /* worth having under way, at least 1 */
    int (*put)(struct objstore *s, const struct objstore_put *put, struct objstore_note *out_note);
    int (*get)(struct objstore *s, const char *key, int fd, uint64_t bytes_max,
               uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
               struct objstore_note *out_note);
    int (*list)(struct objstore *s, const char *prefix,
                int (*on_key)(void *user, const char *key), void *user,
                struct objstore_note *out_note);
    int (*probe)(struct objstore *s, struct objstore_note *out_note);
    void (*interrupt)(struct objstore *s);
    void (*close)(struct objstore *s);
};
struct objstore {
    const struct objstore_ops *ops;
};

struct objstore_config {
    const char *url;         /* file:///dir or s3://bucket/prefix?endpoint=...&region=...&insecure=1 */
    const char *credentials; /* file; s3 only */
    const char *ca_file;     /* "" for none */
    bool may_make;           /* a directory that is not there yet; else it counts as away */
};
/* PHR_E_CONFIG with the reason in words (200 bytes). Nothing is sent yet. */
int objstore_open(const struct objstore_config *config, struct objstore **out_store,
                  char *out_why, size_t why_bytes) PHR_MUST_CHECK;
void objstore_close(struct objstore *s);
SCOPED_HANDLE(struct objstore, objstore_close)

/*
 * Stored durably, or found there with the same content: 0.
 * PHR_E_FORK: the key holds other content. PHR_E_SEAL: our bytes are not what sha256 says.
 * PHR_E_STORE: not now. PHR_E_STORE_REFUSED: refused, will be again.
 */
int objstore_put(struct objstore *s, const struct objstore_put *put,
                 struct objstore_note *out_note) PHR_MUST_CHECK;
/* Writes from offset 0 of fd. -ENOENT: not there. -EFBIG: longer than bytes_max. */
int objstore_get(struct objstore *s, const char *key, int fd, uint64_t bytes_max,
                 uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
                 struct objstore_note *out_note) PHR_MUST_CHECK;
/* In the order of bytes. A negative result of on_key ends it and is returned. */
int objstore_list(struct objstore *s, const char *prefix,
                  int (*on_key)(void *user, const char *key), void *user,
                  struct objstore_note *out_note) PHR_MUST_CHECK;
/* Is it there and does it let us in? One cheap question. */
int objstore_probe(struct objstore *s, struct objstore_note *out_note) PHR_MUST_CHECK;
/* What is under way fails soon, what comes later at once; any thread. */
void objstore_interrupt(struct objstore *s);

bool objstore_is_key(const char *key);
__attribute__((format(printf, 3, 4))) void
objstore_note_set(struct objstore_note *n, enum objstore_blame blame, const char *format, ...);

/* Made by the two implementations. */
int objstore_dir_open(const char *path, bool may_make, struct objstore **out_store) PHR_MUST_CHECK;

#endif
