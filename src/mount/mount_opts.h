/* phrfs SOURCE DIR -o …: what was asked for. Unknown words are refused by name. */
#ifndef PHR_MOUNT_MOUNT_OPTS_H
#define PHR_MOUNT_MOUNT_OPTS_H

#include <limits.h>

#include "base/config.h"
#include "vault/vault.h"

enum { SOURCE_BYTES_MAX = 255, KERNEL_WORDS_BYTES_MAX = 128 };

struct mount_opts {
    char source[SOURCE_BYTES_MAX + 1]; /* as given: it becomes fsname, byte for byte */
    char dir[PATH_MAX];                /* absolute; "" when only a descriptor is known */
    int fuse_fd; /* from mount.phrfs (/dev/fd/N), or -1: mount it ourselves */
    char
        kernel_words[KERNEL_WORDS_BYTES_MAX]; /* ",nosuid,nodev": what mount(2) is told */
    struct config config;
    char identity[PATH_MAX]; /* keyring of the whole mount, or "" */
    int identity_fd;         /* the same, opened by mount.phrfs, or -1 */
    char passfile[PATH_MAX];
    int pass_fd;                    /* or -1 */
    enum vault_ownership ownership; /* 0 while nothing was said */
    bool is_read_only;
    bool is_check;   /* --check: nothing is mounted */
    bool is_for_all; /* allow_other */
    bool is_foreground;
    bool is_debug;
    char *title; /* argv as ps shows it; the guard writes its own there */
    size_t title_bytes;
    bool has_uid, has_gid, has_umask; /* of what stat shows */
    uint32_t uid, gid, umask;
};

/*
 * Fills out_opts from the command line and the configuration. On failure out_why (at least
 * 300 bytes) holds one sentence that names the word or the file. Also PHR_E_USAGE for --help
 * and --version, after having printed them, with an empty sentence.
 */
int mount_opts_parse(int argc, char *argv[], struct mount_opts *out_opts, char *out_why,
                     size_t why_bytes) PHR_MUST_CHECK;

#endif
