/*
 * libphr, part 1: a realm on this machine, how passphrases arrive, the mounts and phrd.
 *
 * Every function: results are 0 or negative as in phr/err.h; after a failure phr_client_get_why
 * has one sentence that says what to do. A client is used by one thread at a time. Nothing is
 * printed, logged or asked of a terminal but by phr_passphrase.
 */
#ifndef PHR_CONTROL_H
#define PHR_CONTROL_H

#include "phr/err.h"
#include "phr/types.h"

struct phr_client;

/*
 * Open a realm's configuration; connects to nothing yet.
 *
 * Shapes   config_path: NULL for the default places
 * Units    none
 * Owns     the caller owns *out_client: phr_client_close. out_why has why_bytes of room
 * Errors   PHR_E_CONFIG (out_why names file, line and key), PHR_E_MEMLOCK, PHR_E_SELFTEST
 * Threads  one per client
 * Source   DESIGN 6
 */
int phr_client_open(const char *config_path, struct phr_client **out_client,
                    char *out_why, size_t why_bytes) PHR_MUST_CHECK;
void phr_client_close(struct phr_client *c); /* NULL is fine */

/* The sentence about the last failure, or "" ; borrowed until the next call. */
const char *phr_client_get_why(const struct phr_client *c);

/*
 * Be told of long work (epoch changes, re-wrapping). step is one of the words of
 * src/client/README.md; all may be 0 when it is not known. Called between steps, each of
 * which is complete in the ledger by then.
 */
void phr_client_on_progress(struct phr_client *c,
                            void (*on_progress)(void *user, const char *step,
                                                uint64_t done, uint64_t all),
                            void *user);

/* Where a passphrase comes from: fd >= 0, else file (0600, first line), else the terminal. */
struct phr_passphrase {
    int fd;
    const char *file;
    const char *prompt; /* shown on the terminal; no colon */
    bool is_new;        /* on a terminal: asked twice */
};

/*
 * phr init: directories, authority (keyring and card), SRS keys and card, phr.conf.
 *
 * Shapes   store_url: file:///dir or s3://…; NULL is file://$PHR_HOME/bucket
 * Owns     nothing
 * Errors   PHR_E_EXISTS when there is a realm already; -errno; PHR_E_PASSPHRASE
 * Threads  one per client; starts and waits for `phrd --init`
 * Source   DESIGN 6, CRYPTO 2.6
 */
struct phr_realm_wish {
    const char *store_url;
    const char *store_credentials; /* file with the keys of the object store, or NULL */
};
int phr_realm_init(struct phr_client *c, const struct phr_realm_wish *wish,
                   const struct phr_passphrase *authority) PHR_MUST_CHECK;

/* Text of phrd's status as JSON; the caller frees. PHR_E_SIDECAR. */
int phr_sidecar_dup_status(struct phr_client *c, char **out_json) PHR_MUST_CHECK;
/* Objects that were parked are queued again. */
int phr_sidecar_retry(struct phr_client *c, uint32_t *out_count) PHR_MUST_CHECK;

/*
 * Mounts of this machine: one control socket each in the run directory.
 *
 * Shapes   dir: the mount point; NULL means the only one that there is
 * Units    milliseconds
 * Owns     JSON texts are the caller's (free)
 * Errors   PHR_E_USAGE (dir is NULL and there are several), -ENOENT (none is mounted),
 *          PHR_E_SIDECAR (the mount does not answer), PHR_E_TIMEOUT
 * Threads  one per client
 * Source   DESIGN 4, 9
 */
int phr_mount_each(struct phr_client *c,
                   int (*on_mount)(void *user, const char *dir, const char *socket_path),
                   void *user) PHR_MUST_CHECK;
int phr_mount_dup_status(struct phr_client *c, const char *dir,
                         char **out_json) PHR_MUST_CHECK;
struct phr_backlog {
    uint32_t ops;
    uint32_t unsealed;
    uint32_t objects;
    uint32_t parked;
};
/* Asks the mount to seal and upload all, and waits at most this long; 0 only looks. */
int phr_mount_sync(struct phr_client *c, const char *dir, uint32_t timeout_ms,
                   struct phr_backlog *out_left) PHR_MUST_CHECK;
/*
 * Reads and verifies everything that is stored here, by `phrfs --check` where nothing is mounted;
 * goes on where an interrupted check ended, unless NEW. A JSON text with what is damaged.
 * REPAIR needs a mount: what the object store has is fetched again. Progress is told.
 */
enum phr_check { PHR_CHECK_NEW = 1 << 0, PHR_CHECK_REPAIR = 1 << 1 };
int phr_mount_dup_check(struct phr_client *c, const char *dir, enum phr_check flags,
                        char **out_json) PHR_MUST_CHECK;
struct phr_identity;
/* Hands the unlocked identity to the mount, bound to the caller's uid there. */
int phr_mount_login(struct phr_client *c, const char *dir,
                    const struct phr_identity *identity,
                    const char *purpose) PHR_MUST_CHECK;
int phr_mount_logout(struct phr_client *c, const char *dir,
                     uint32_t *out_unsealed) PHR_MUST_CHECK;
/* Starts phrd where none answers, then phrfs on dir with these -o options (NULL: none). */
int phr_mount_start(struct phr_client *c, const char *dir,
                    const char *options) PHR_MUST_CHECK;
int phr_mount_stop(struct phr_client *c, const char *dir) PHR_MUST_CHECK;

#endif
