/*
 * phrfs' command line. The words that name files are real paths for it, so an input that names one
 * outside this directory is left alone.
 */
#include "words.h"

#include <getopt.h>
#include <stdio.h>

#include "mount/mount_opts.h"

enum { WHY_BYTES = 512 };

/* --help and --version print; a path may lead to a device that never ends. */
static bool is_left_alone(const char *word)
{
    return strstr(word, "config") || strchr(word, '/') || strncmp(word, "--h", 3) == 0 || strncmp(word, "--v", 3) == 0 ||
           (word[0] == '-' && word[1] != '-' && strpbrk(word, "hV"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mount_opts opts;
    char why[WHY_BYTES];
    struct words w;
    bool is_fit = true;
    int rc;

    words_init(&w, "phrfs", data, size);
    for (int i = 1; i < w.argc; i++)
        is_fit = is_fit && !is_left_alone(w.argv[i]);
    if (is_fit) {
        optind = 0; /* getopt starts anew */
        rc = mount_opts_parse(w.argc, w.argv, &opts, why, sizeof why);
        INVARIANT(memchr(why, '\0', sizeof why) != NULL);
        if (rc == 0)
            INVARIANT(memchr(opts.source, '\0', sizeof opts.source) &&
                      memchr(opts.kernel_words, '\0', sizeof opts.kernel_words) && opts.ownership != 0);
        else
            INVARIANT(rc < 0 && why[0]);
    }
    words_fini(&w);
    return 0;
}
