/*
 * Where phrd lives: directories, the user that it runs as, the lock, the store, the sandbox.
 * All of it before the first thread.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"
#include "proc/privs.h"
#include "proc/sandbox.h"
#include "sidecar/phrd.h"

enum { MESSAGE_BYTES = 300 };

static int open_home(struct phrd *p);
static int take_lock(struct phrd *p);
static int open_store(struct phrd *p);
static int is_new_store(struct phrd *p, bool *out_is_new);
static int enter_sandbox(struct phrd *p);

/* ---- --init ---- */

/* A store in a directory, for the sidecar's user, who may not make one beside sidecar/. */
static int make_store_dir(struct phrd *p, uid_t uid, gid_t gid)
{
    scoped(close_fd) int dir = -1;
    int rc;

    if (strncmp(p->config.store_url, "file:///", 8) != 0)
        return 0;
    rc = fdio_make_dir(p->config.store_url + 7, 0750, &dir);
    if (rc == 0 && fchown(dir, uid, gid) < 0)
        rc = -errno;
    return rc < 0 ? phrd_say(rc, "the store's directory") : 0;
}

/* What root made for the sidecar's own user becomes his: the directories and the files in them. */
static int hand_over(struct phrd *p)
{
    static const char *const files[] = { "srs.key", "rk.keys",     "srs.db",     "srs.db-wal",
                                         "sync.db", "sync.db-wal", "srs.db-shm", "sync.db-shm",
                                         "lock",    "store" };
    uid_t uid = 0;
    gid_t gid = 0;
    int rc;

    if (geteuid() != 0 || p->config.sidecar_user[0] == '\0')
        return 0;
    rc = privs_find(p->config.sidecar_user, &uid, &gid);
    if (rc < 0)
        return phrd_say(rc, p->config.sidecar_user);
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        if (fchownat(p->dir_fd, files[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return phrd_say(-errno, files[i]);
    }
    if (fchown(p->dir_fd, uid, gid) < 0)
        return phrd_say(-errno, "sidecar/");
    return make_store_dir(p, uid, gid);
}

int phrd_init_home(struct phrd *p)
{
    char realm[PATH_MAX];
    int home = -1;
    int rc = fdio_make_dir(p->config.home, 0755, &home);

    if (rc < 0)
        return phrd_say(rc, "the home directory");
    close(home);
    rc = config_home_path(&p->config, "realm", realm, sizeof realm);
    if (rc == 0)
        rc = config_home_path(&p->config, "sidecar", p->dir_path, sizeof p->dir_path);
    if (rc == 0)
        rc = fdio_make_dir(realm, 0755, &p->realm_fd);
    if (rc == 0 && fchmod(p->realm_fd, 0755) < 0) /* public, whatever the umask */
        rc = -errno;
    if (rc == 0)
        rc = fdio_make_dir(p->dir_path, 0700, &p->dir_fd);
    if (rc < 0)
        return phrd_say(rc, "realm/ and sidecar/");
    rc = take_lock(p);
    if (rc < 0)
        return rc;
    rc = secret_arena_open();
    if (rc == 0)
        rc = srs_init(p->dir_fd, p->realm_fd);
    if (rc < 0)
        return phrd_say(rc, "making the SRS");
    return hand_over(p);
}

/* ---- every start ---- */

int phrd_enter_home(struct phrd *p)
{
    int rc = open_home(p);

    if (rc == 0)
        rc = take_lock(p);
    if (rc == 0)
        rc = open_store(p);
    if (rc == 0)
        rc = enter_sandbox(p);
    return rc;
}

/* /run/phr lies in memory and is gone after a boot: made here where tmpfiles.d has not. */
static int make_run_dir(struct phrd *p, uid_t uid, gid_t gid)
{
    scoped(close_fd) int run = -1;
    struct stat st;
    int rc;

    if (stat(p->config.run, &st) == 0)
        return 0;
    rc = fdio_make_dir(p->config.run, 0755, &run);
    if (rc == 0 && geteuid() == 0 && fchown(run, uid, gid) < 0)
        rc = -errno;
    if (rc == 0 && fchmod(run, 0755) < 0)
        rc = -errno;
    return rc < 0 ? phrd_say(rc, p->config.run) : 0;
}

/* Directories and the user that we are from here on. */
static int open_home(struct phrd *p)
{
    char realm[PATH_MAX];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int rc = 0;

    p->mount_uid = geteuid();
    if (p->config.user[0]) {
        gid_t unused;

        rc = privs_find(p->config.user, &p->mount_uid, &unused);
    }
    if (rc == 0 && p->config.sidecar_user[0])
        rc = privs_find(p->config.sidecar_user, &uid, &gid);
    if (rc < 0)
        return phrd_say(rc, "the users in phr.conf");
    rc = make_run_dir(p, uid, gid);
    if (rc == 0 && p->config.sidecar_user[0]) {
        rc = privs_drop(p->config.sidecar_user);
        if (rc < 0)
            return phrd_say(rc, "becoming the sidecar's user");
    }
    if (rc < 0)
        return rc;
    rc = config_home_path(&p->config, "realm", realm, sizeof realm);
    if (rc == 0)
        rc = config_home_path(&p->config, "sidecar", p->dir_path, sizeof p->dir_path);
    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, realm, &p->realm_fd);
    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, p->dir_path, &p->dir_fd);
    if (rc == -ENOENT)
        fprintf(stderr, "phrd: there is no realm in %s yet: run 'phr init'\n", p->config.home);
    else if (rc < 0)
        return phrd_say(rc, p->config.home);
    return rc;
}

/* One phrd per sidecar/: the databases are ours alone (S-3). */
static int take_lock(struct phrd *p)
{
    char text[32];
    ssize_t n;
    int rc = fdio_open(p->dir_fd, "lock", O_RDWR | O_CREAT, 0600, &p->lock_fd);

    if (rc < 0)
        return phrd_say(rc, "sidecar/lock");
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        n = pread(p->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        fprintf(stderr, "phrd: %s is served by another phrd already (process %s)\n", p->dir_path,
                text[0] ? text : "unknown");
        return PHR_E_BUSY;
    }
    n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(p->lock_fd, 0) < 0 || pwrite(p->lock_fd, text, (size_t)n, 0) != n)
        return phrd_say(-errno, "sidecar/lock");
    return 0;
}

static int open_store(struct phrd *p)
{
    struct objstore_config config = { .credentials = p->config.store_credentials,
                                      .ca_file = p->config.store_ca_file };
    char why[MESSAGE_BYTES] = "";
    int rc = secret_arena_open();

    if (rc < 0)
        return phrd_say(rc, "the arena of secrets");
    if (p->config.store_url[0] == '\0') {
        int n = snprintf(p->config.store_url, sizeof p->config.store_url, "file://%s/objects",
                         p->config.home);

        if (n < 0 || (size_t)n >= sizeof p->config.store_url)
            return phrd_say(PHR_E_LIMIT, "[store] url");
        log_warn("no_store_configured", LOG_WORD("now", "objects_stay_on_this_machine"));
    }
    config.url = p->config.store_url;
    rc = is_new_store(p, &config.may_make);
    if (rc < 0)
        return phrd_say(rc, "sidecar/store");
    rc = objstore_open(&config, &p->store, why, sizeof why);
    if (rc < 0)
        fprintf(stderr, "phrd: %s\n", why[0] ? why : phr_err_text(rc));
    if (rc == 0 && config.may_make)
        rc = fdio_save(p->dir_fd, "store", view_text(p->config.store_url), 0600);
    return rc;
}

/*
 * sidecar/store holds the URL of the store that we have used before. Only a new one may be
 * made: an old one that is missing (a disk that is not mounted) must not become an empty one.
 */
static int is_new_store(struct phrd *p, bool *out_is_new)
{
    scoped(free) uint8_t *was = NULL;
    size_t n = 0;
    int rc = fdio_load(p->dir_fd, "store", sizeof p->config.store_url, &was, &n);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    *out_is_new = rc == -ENOENT || !view_equal(view_of(was, n), view_text(p->config.store_url));
    if (rc == 0 && *out_is_new)
        log_warn("store_changed", LOG_WORD("note", "what_the_old_one_had_is_not_copied_by_phrd"));
    return 0;
}

static int enter_sandbox(struct phrd *p)
{
    char realm[PATH_MAX];
    struct sandbox_path paths[] = { { p->dir_path, true }, { p->config.run, true },
                                    { realm, false },      { p->config.store_ca_file, false },
                                    { "", true } };
    struct sandbox_opts opts = { .profile = SANDBOX_SIDECAR, .paths = paths, .path_count = 4 };
    int abi = 0;
    int rc = config_home_path(&p->config, "realm", realm, sizeof realm);

    if (strncmp(p->config.store_url, "file://", 7) == 0) {
        paths[4].path = p->config.store_url + 7;
        opts.path_count = 5;
        if (stat(paths[4].path, &p->store_dir) < 0)
            log_warn("store_missing", LOG_WORD("note", "ends_to_be_restarted_when_it_is_there"));
    }
    if (rc == 0)
        rc = sandbox_enter(&opts, &abi);
    if (rc < 0)
        return phrd_say(rc, "the sandbox");
    log_info("start", LOG_WORD("version", PHR_VERSION), LOG_U64("landlock", (uint64_t)abi),
             LOG_WORD("store", opts.path_count == 5 ? "directory" : "s3"),
             LOG_U64("uid", geteuid()), LOG_U64("lease_s", p->config.lease_s));
    return 0;
}
