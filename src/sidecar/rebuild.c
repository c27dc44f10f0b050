#include "sidecar/rebuild.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fdio.h"
#include "format/limits.h"
#include "sidecar/storekey.h"

enum { FETCH_TIMEOUT_MS = 60 * 1000 };

struct rebuild {
    struct srs *srs;
    struct objstore *store;
    struct rebuild_count count;
    struct id16 patient;
    uint64_t next_seq;
    char *why;
    size_t why_bytes;
};

static int fail(struct rebuild *r, uint64_t seq, int rc, const char *words)
{
    snprintf(r->why, r->why_bytes, "entry %llu of patient %02x%02x%02x%02x: %s",
             (unsigned long long)seq, r->patient.b[0], r->patient.b[1], r->patient.b[2],
             r->patient.b[3], words);
    return rc;
}

static int fetch(struct rebuild *r, const char *key, uint8_t **out_p, size_t *out_n,
                 struct objstore_note *note)
{
    scoped(close_fd) int fd = memfd_create("phrd-rebuild", MFD_CLOEXEC);
    scoped(free) uint8_t *p = NULL;
    struct digest unused;
    uint64_t bytes = 0;
    int rc;

    if (fd < 0)
        return -errno;
    rc = objstore_get(r->store, key, fd, ENTRY_BYTES_MAX + 64, FETCH_TIMEOUT_MS, &bytes, &unused,
                      note);
    if (rc < 0)
        return rc;
    p = malloc((size_t)bytes + 1);
    if (!p)
        return -ENOMEM;
    rc = fdio_pread_all(fd, p, (size_t)bytes, 0);
    if (rc < 0)
        return rc;
    *out_n = (size_t)bytes;
    *out_p = give(p);
    return 0;
}

static int import_key(void *user, const char *key)
{
    struct rebuild *r = user;
    scoped(free) uint8_t *entry = NULL;
    struct objstore_note note = { 0 };
    struct id16 patient;
    uint64_t seq;
    size_t n = 0;
    int rc;

    if (storekey_parse_entry(key, &patient, &seq) < 0)
        return 0; /* an object, a snapshot */
    if (r->count.patients == 0 || memcmp(patient.b, r->patient.b, sizeof patient.b) != 0) {
        r->patient = patient;
        r->next_seq = 0;
        r->count.patients++;
    }
    if (seq != r->next_seq)
        return fail(r, r->next_seq, PHR_E_FORK, "missing in the store, though later ones are there");
    rc = fetch(r, key, &entry, &n, &note);
    if (rc < 0)
        return fail(r, seq, rc, note.words[0] ? note.words : phr_err_text(rc));
    rc = srs_import_entry(r->srs, view_of(entry, n));
    if (rc < 0)
        return fail(r, seq, rc, phr_err_text(rc));
    r->next_seq++;
    r->count.entries++;
    return 0;
}

int rebuild_run(struct srs *srs, struct objstore *store, struct rebuild_count *out_count,
                char *out_why, size_t why_bytes)
{
    struct rebuild r = { .srs = srs, .store = store, .why = out_why, .why_bytes = why_bytes };
    struct objstore_note note = { 0 };
    int rc = objstore_list(store, "p/", import_key, &r, &note);

    if (rc < 0 && out_why[0] == '\0')
        snprintf(out_why, why_bytes, "%s", note.words[0] ? note.words : phr_err_text(rc));
    *out_count = r.count;
    return rc;
}
