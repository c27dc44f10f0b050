/* What the parts of phrd share: everything is opened before the first thread and closed after the last. */
#ifndef PHR_SIDECAR_PHRD_H
#define PHR_SIDECAR_PHRD_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/config.h"
#include "ipc/server.h"
#include "sidecar/mounts.h"
#include "sidecar/objstore.h"
#include "sidecar/syncdb.h"
#include "sidecar/transport.h"
#include "srs/srs.h"

struct phrd_options {
    const char *config_path; /* NULL: where config.h looks */
    bool foreground;
    bool init;
    bool rebuild;
};

struct phrd {
    struct config config;
    struct phrd_options options;
    int lock_fd;
    int realm_fd;
    int dir_fd; /* sidecar/ */
    char dir_path[PATH_MAX];
    uid_t mount_uid; /* of [phr] user; our own when there is none */
    struct objstore *store;
    struct stat store_dir; /* of a file:// store, when the sandbox was entered */
    struct syncdb *db;
    struct transport *transport;
    struct mounts *mounts;
    struct srs *srs;
    atomic_int stranger_objects; /* under way for users whom we know nothing of */
    struct server *server;
    struct id16 host;
    struct digest srs_card;
    uint64_t started_s;
    pthread_t server_thread;
    bool has_server_thread;
    atomic_bool has_server_ended;
    pthread_rwlock_t parts; /* of transport, which goes before the SRS that calls it */
};

/* Opening and closing, in phrd.c. Errors are said on stderr, once, where they arise. */
int phrd_new(const struct phrd_options *options, struct phrd **out_phrd) PHR_MUST_CHECK;
void phrd_free(struct phrd *p);
SCOPED_HANDLE(struct phrd, phrd_free)
/* Says on stderr what went wrong; rc again. */
int phrd_say(int rc, const char *what);
/* In phrd_home.c. --init: directories, SRS key, card request. */
int phrd_init_home(struct phrd *p) PHR_MUST_CHECK;
/* Directories, user, lock, store, sandbox. */
int phrd_enter_home(struct phrd *p) PHR_MUST_CHECK;
/* Enters its home; then databases, SRS, socket. */
int phrd_open(struct phrd *p) PHR_MUST_CHECK;
/* Hands the transport what srs.db knows to be missing in the bucket. */
void phrd_redrive(struct phrd *p);
/* What is parked goes again, mounts are told; how many. Any thread. */
uint32_t phrd_retry(struct phrd *p);
/* Says ready when it serves; until a signal, signal_fd from signal_open. */
struct daemon;
int phrd_serve(struct phrd *p, struct daemon *d, int signal_fd) PHR_MUST_CHECK;

/* JSON for phr status, in phrd_status.c; the caller's (free); NULL without memory. */
char *phrd_dup_status(struct phrd *p);
/* To every mount. From any thread. */
void phrd_tell_changed(struct phrd *p, const struct id16 *patient, uint64_t seq);

#endif
