/*
 * Writes golden files and the first file of each fuzz corpus:
 *   make_corpus golden DIR    DIR/<format>.bin
 *   make_corpus corpus DIR    DIR/<target>/<format>
 * Run once when a format comes to be; what lies in the tree stays as it is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../golden/samples.h"
#include "base/scope.h"
#include "base/secret.h"
#include "targets.h"

static int file_write(const char *path, struct view bytes)
{
    FILE *f = fopen(path, "wbx"); /* never over an older one */
    size_t n;

    if (!f)
        return errno == EEXIST ? 0 : -errno;
    n = fwrite(bytes.p, 1, bytes.n, f);
    return fclose(f) != 0 || n != bytes.n ? -EIO : 0;
}

static int golden_write(const char *dir, const struct sample *s, struct view bytes)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s.bin", dir, s->name);
    return file_write(path, bytes);
}

/* A change body is led by its number, as the target wants it. */
static int corpus_write(const char *dir, const struct target_seed *seed)
{
    scoped(writer_fini) struct writer w = { 0 };
    char path[512];
    int rc;

    writer_init(&w);
    if (seed->lead >= 0)
        writer_u8(&w, (uint8_t)seed->lead);
    rc = sample_make(seed->sample, &w);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof path, "%s/%s", dir, seed->target);
    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        return -errno;
    snprintf(path, sizeof path, "%s/%s/%s", dir, seed->target, seed->sample);
    return file_write(path, writer_done(&w));
}

static int golden_all(const char *dir)
{
    for (size_t i = 0; i < sample_count; i++) {
        scoped(writer_fini) struct writer w = { 0 };
        int rc;

        writer_init(&w);
        rc = sample_make(samples[i].name, &w);
        if (rc == 0)
            rc = golden_write(dir, &samples[i], writer_done(&w));
        if (rc < 0) {
            fprintf(stderr, "%s: %s\n", samples[i].name, phr_err_text(rc));
            return rc;
        }
    }
    return 0;
}

static int corpus_all(const char *dir)
{
    for (size_t i = 0; i < target_seed_count; i++) {
        int rc = corpus_write(dir, &target_seeds[i]);

        if (rc < 0) {
            fprintf(stderr, "%s: %s\n", target_seeds[i].target, phr_err_text(rc));
            return rc;
        }
    }
    return 0;
}

int main(int argc, char *argv[])
{
    int rc;

    if (argc != 3 || secret_arena_open() < 0)
        return 2;
    rc = strcmp(argv[1], "golden") == 0 ? golden_all(argv[2]) : corpus_all(argv[2]);
    return rc < 0 ? 1 : 0;
}
