/* Opens a vault as phrfs does, without FUSE, and tells what is in it. */
#ifndef PHR_TESTS_SYSTEM_POWERCUT_PROBE_H
#define PHR_TESTS_SYSTEM_POWERCUT_PROBE_H

#include "base/cursor.h"

struct probe_opts {
    const char *home;     /* realm/ and vault/ lie there */
    struct view keyring;  /* a body, as a login hands it over */
    bool goes_on_first;   /* writes and removes before anything is read: numbers must not clash */
    uint64_t seed;
};
/*
 * {"files": {path: [size, "16 hex digits per block"]}, "dirs": […], "check": {…}, "errors": […],
 *  "made": path, "unlinked": path}, appended to out. < 0: the vault cannot be opened at all.
 */
int probe_vault(const struct probe_opts *opts, struct writer *out);

#endif
