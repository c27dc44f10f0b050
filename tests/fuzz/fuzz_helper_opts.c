/* What mount(8) hands to mount.phrfs, which root may run for a user: the words are the user's. */
#include "words.h"

#include <getopt.h>

#include "../../tools/mount/helper_opts.h"

enum { WHY_BYTES = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct helper_opts opts;
    char why[WHY_BYTES];
    struct words w;

    words_init(&w, "mount.phrfs", data, size);
    optind = 0; /* getopt starts anew */
    if (helper_opts_parse(w.argc, w.argv, &opts, why, sizeof why) == 0)
        INVARIANT(opts.source && opts.dir && memchr(opts.words, '\0', sizeof opts.words) &&
                  memchr(opts.kernel_words, '\0', sizeof opts.kernel_words) &&
                  memchr(opts.config, '\0', sizeof opts.config) &&
                  memchr(opts.identity, '\0', sizeof opts.identity) &&
                  memchr(opts.passfile, '\0', sizeof opts.passfile));
    else
        INVARIANT(memchr(why, '\0', sizeof why) && why[0]);
    words_fini(&w);
    return 0;
}
