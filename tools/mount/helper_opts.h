/* What mount(8) hands to a mount helper, sorted by who has to act on it. */
#ifndef PHR_TOOLS_MOUNT_HELPER_OPTS_H
#define PHR_TOOLS_MOUNT_HELPER_OPTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "phr/err.h"

enum { HELPER_WORDS_BYTES_MAX = 4096 };

struct helper_opts {
    const char *source; /* borrowed from argv, like dir */
    const char *dir;
    unsigned long flags; /* MS_* for mount(2) */
    char words
        [HELPER_WORDS_BYTES_MAX]; /* for phrfs, each with a comma in front, escaped */
    char kernel_words[256];       /* the flags again as words, for phrfs without root */
    char config[PATH_MAX];
    char identity[PATH_MAX];
    char passfile[PATH_MAX];
    bool is_for_all;
    bool is_remount;
    bool is_fake;   /* -f: do everything but mount */
    bool is_sloppy; /* -s: unknown words are dropped */
    bool is_verbose;
    bool no_table; /* -n */
};

/* PHR_E_USAGE with a sentence that names the word. */
int helper_opts_parse(int argc, char *argv[], struct helper_opts *out_opts, char *out_why,
                      size_t why_bytes) PHR_MUST_CHECK;
/* ",name=value" with commas and backslashes of the value escaped. */
int helper_opts_add(char *list, size_t list_bytes, const char *name,
                    const char *value) PHR_MUST_CHECK;

#endif
