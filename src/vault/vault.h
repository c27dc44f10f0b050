/*
 * What the file system means, without FUSE: opening a vault, identities in it, and what it
 * tells the mount. Names: node.h. Contents: file.h. May be called from any thread.
 */
#ifndef PHR_VAULT_VAULT_H
#define PHR_VAULT_VAULT_H

#include <sys/types.h>

#include "base/config.h"
#include "base/cursor.h"
#include "format/grant.h"
#include "format/keyring.h"
#include "vault/waiter.h"

struct vault;

enum vault_ownership { VAULT_OWNERSHIP_STORED = 1, VAULT_OWNERSHIP_GRANTS = 2 };
enum { VAULT_UID_ANY = 0xffffffff }; /* an identity of the whole mount */
enum { VAULT_ROOT_NODE = 1 };

/* Told to the mount, always from a thread of the vault with no lock held; must not block long. */
struct vault_upcalls {
    void *user;
    /* Cached pages, attributes and ACLs of a node are no longer true. */
    void (*inval_node)(void *user, uint64_t nodeid);
    void (*inval_entry)(void *user, uint64_t parent, struct view name);
    /* Every cached name may be wrong (login, logout, grant, revoke): FUSE_NOTIFY_INC_EPOCH. */
    void (*inval_names)(void *user);
    /* Stored bytes failed their check while blocks first..first+count-1 were read; may be NULL. */
    void (*damaged)(void *user, const struct id16 *file, uint64_t first, uint64_t count);
    /* The server's ledger of a patient contradicts what was verified here (PHR_E_*); may be NULL. */
    void (*contradicted)(void *user, const struct id16 *patient, int reason);
    /* namespace.db could not take again what was acknowledged, and everything is refused (EIO) until it can,
       or the next start; reason 0: it could. May be NULL. */
    void (*held)(void *user, int reason);
};

struct vault_opts {
    const struct config *config;
    enum vault_ownership ownership;
    struct vault_upcalls upcalls;
    bool is_read_only; /* until vault_begin_writing */
};
/*
 * Opens PHR_HOME/vault (made when missing, flock waits at most 30 s: PHR_E_BUSY), recovers,
 * starts the threads (link to phrd, syncer, sealer, checkpointer).
 */
int vault_open(const struct vault_opts *opts, struct vault **out_vault) PHR_MUST_CHECK;
/*
 * A request of the kernel that changes something. The kernel refuses these itself on a mount that
 * is read-only; so one that was mounted so has been remounted, and what runs beside requests
 * (sealing, eviction, repair) begins. Any thread.
 */
bool vault_begin_writing(struct vault *v); /* true: it was read-only until now */
bool vault_is_read_only(struct vault *v);
/* Local durability, never the network. */
void vault_close(struct vault *v);

/*
 * Takes the keyring. Binds the identity to uid (or VAULT_UID_ANY), checks its card and anchors,
 * loads its names keys: from the local key when they are there, else asked of the SRS in one
 * request, for which the call waits at most 2 s (it is not made by a FUSE worker).
 */
int vault_login(struct vault *v, uint32_t uid, struct keyring *take, enum purpose purpose,
                struct id16 *out_user) PHR_MUST_CHECK;
int vault_logout(struct vault *v, uint32_t uid, uint32_t *out_unsealed) PHR_MUST_CHECK;
/* Logs one person out who has done nothing for idle_ms; -ENOENT: there is none. The identity of all uids stays. */
int vault_logout_idle(struct vault *v, uint64_t idle_ms, uint32_t *out_uid, uint32_t *out_unsealed) PHR_MUST_CHECK;

/* {"mount": …}: caller frees. Sessions of this uid only, names of patients and all; every one
   for VAULT_UID_ANY. */
char *vault_dup_status(struct vault *v, uint32_t uid);
/* Logs of acknowledged changes that a start could not run and kept aside: somebody must look at them. */
unsigned vault_kept_logs(struct vault *v);
struct vault_backlog {
    uint32_t ops;
    uint32_t unsealed;
    uint32_t objects;
    uint32_t parked;
};
/*
 * Seals everything now and waits until the backlog is empty or the time is over; not a FUSE worker.
 * With nothing left, all of it is on the disk here too: a power cut takes nothing back.
 */
int vault_sync(struct vault *v, uint32_t timeout_ms, struct vault_backlog *out_left) PHR_MUST_CHECK;
/*
 * Reads and verifies what is stored here for about budget_ms, and goes on where the last step
 * ended, in another process too: {"finished": …, "done": n, "all": n}; the last step's answer also
 * has "damaged", a list with files by path where a logged-in identity knows the names, else by id,
 * "count" of what is damaged still, and "repaired". Caller frees. Not a FUSE worker.
 */
struct vault_check {
    bool is_new;  /* from the beginning; what an interrupted check found is forgotten */
    bool repairs; /* segments that the object store has are fetched again */
    uint32_t budget_ms;
};
int vault_check_step(struct vault *v, const struct vault_check *opts, bool *out_finished,
                     char **out_json) PHR_MUST_CHECK;
/* The same in one step, from the beginning, without repair. */
int vault_check(struct vault *v, char **out_json) PHR_MUST_CHECK;

#endif
