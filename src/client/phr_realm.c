/*
 * phr init. REALM-1: realm/authority.card is written last; where it stands, the realm is
 * whole. REALM-2: an init that was interrupted is run again and goes on, except that the
 * authority's keys are new (nobody has seen the old ones).
 */
#include "phr/control.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "client/child.h"
#include "client/keys.h"
#include "crypto/digest.h"

enum {
    AUTHORITY_VALID_S = 20 * 365 * 24 * 60 * 60,
    CONF_BYTES_MAX = 2 * PATH_MAX + 2048
};

static const struct realm_dir {
    const char *rel;
    mode_t mode;
    enum { OWNER_ROOT, OWNER_MOUNT, OWNER_SIDECAR } owner;
} realm_dirs[] = {
    { "realm", 0755, OWNER_ROOT },
    { "realm/cards", 0755, OWNER_ROOT },
    { "realm/requests", 01777, OWNER_ROOT }, /* anybody may ask; the authority looks */
    { "keys", 0711, OWNER_ROOT },            /* each keyring is its owner's, 0600 */
    { "vault", 0700, OWNER_MOUNT },
    { "sidecar", 0700, OWNER_SIDECAR },
    { "bucket", 0700, OWNER_SIDECAR },
};

static int chown_to(struct phr_client *c, int fd, const char *name, const char *user)
{
    const struct passwd *pw;

    if (!user[0] || geteuid() != 0)
        return 0;
    pw = getpwnam(user);
    if (!pw)
        return client_fail(c, PHR_E_CONFIG, "there is no system user %s, which %s names",
                           user, c->config.path);
    if (fchownat(fd, name, pw->pw_uid, pw->pw_gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) <
        0)
        return client_fail_plain(c, -errno, user);
    return 0;
}

static const char *owner_of(const struct phr_client *c, const struct realm_dir *d)
{
    if (d->owner == OWNER_MOUNT)
        return c->config.user;
    return d->owner == OWNER_SIDECAR ? c->config.sidecar_user : "";
}

static int make_dirs(struct phr_client *c)
{
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < sizeof realm_dirs / sizeof realm_dirs[0] && rc == 0; i++) {
        const struct realm_dir *d = &realm_dirs[i];
        scoped(close_fd) int fd = -1;

        rc = config_home_path(&c->config, d->rel, path, sizeof path);
        if (rc == 0)
            rc = fdio_make_dir(path, 0755, &fd);
        if (rc == 0 && fchmod(fd, d->mode) < 0)
            rc = -errno;
        if (rc < 0)
            return client_fail_plain(c, rc, path);
        rc = chown_to(c, fd, "", owner_of(c, d));
    }
    return rc;
}

static bool is_line(const char *text)
{
    return text && text[0] && !strpbrk(text, "\r\n");
}

/* An existing configuration stays as the administrator wrote it. */
static int write_conf(struct phr_client *c, const struct phr_realm_wish *wish)
{
    scoped(free) char *text = malloc(CONF_BYTES_MAX);
    scoped(close_fd) int dir = -1;
    char dir_path[PATH_MAX];
    char *slash;
    int len;
    int rc;

    if (!text)
        return -ENOMEM;
    if (access(c->config.path, F_OK) == 0) {
        if (wish->store_url && strcmp(wish->store_url, c->config.store_url) != 0)
            return client_fail(c, PHR_E_EXISTS,
                               "%s exists already; write the store's url into its "
                               "[store] section and run init without --store",
                               c->config.path);
        return 0;
    }
    if ((wish->store_url && !is_line(wish->store_url)) ||
        (wish->store_credentials && !is_line(wish->store_credentials)))
        return client_fail(c, PHR_E_USAGE,
                           "the store's url and credentials are one line each");
    len = snprintf(
        text, CONF_BYTES_MAX,
        "[phr]\nhome = %s\nrun = %s\n\n[store]\nurl = %s%s%s\n%s%s%s", c->config.home,
        c->config.run, wish->store_url ? wish->store_url : "file://",
        wish->store_url ? "" : c->config.home, wish->store_url ? "" : "/bucket",
        wish->store_credentials ? "credentials = " : "",
        wish->store_credentials ? wish->store_credentials : "",
        wish->store_credentials ? "\n" : "");
    if (len < 0 || len >= CONF_BYTES_MAX)
        return PHR_E_LIMIT;
    ignored(snprintf(dir_path, sizeof dir_path, "%s", c->config.path));
    slash = strrchr(dir_path, '/');
    if (!slash)
        return client_fail(c, PHR_E_CONFIG, "the configuration needs an absolute path");
    *slash = '\0';
    rc = fdio_make_dir(dir_path, 0755, &dir);
    if (rc == 0)
        rc = fdio_save(dir, slash + 1, view_of(text, (size_t)len), 0644);
    return rc < 0 ? client_fail_plain(c, rc, c->config.path) : 0;
}

/* Makes srs.key and realm/srs.request, once. */
static int make_srs(struct phr_client *c, int realm)
{
    static const char *const args[] = { "--init", NULL };
    scoped(close_fd) int sidecar = -1;
    static const char *const files[] = { "srs.key", "rk.keys", "srs.db" };
    int rc = 0;

    if (faccessat(realm, "srs.request", F_OK, 0) < 0)
        rc = child_run(c, "phrd", args);
    if (rc == 0)
        rc = client_open_dir(c, "sidecar", &sidecar);
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc == 0; i++) {
        if (faccessat(sidecar, files[i], F_OK, 0) == 0)
            rc = chown_to(c, sidecar, files[i], c->config.sidecar_user);
    }
    return rc;
}

static int approve_srs(struct phr_client *c, int realm, struct phr_identity *authority,
                       struct writer *out_card)
{
    scoped(free) uint8_t *request = NULL;
    struct card card;
    size_t n = 0;
    int rc = fdio_load(realm, "srs.request", CARD_BYTES_MAX, &request, &n);

    if (rc == 0)
        rc = card_request_decode(view_of(request, n), &card);
    if (rc == 0 && card.role != CARD_SRS)
        rc = PHR_E_CARD;
    if (rc == 0)
        rc = keys_approve(authority, view_of(request, n), out_card);
    return rc < 0 ? client_fail_plain(c, rc, "realm/srs.request") : 0;
}

static int make_authority(struct phr_client *c, int realm,
                          const struct phr_passphrase *pass)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(writer_fini) struct writer card;
    scoped(writer_fini) struct writer srs;
    const struct keys_wish wish = { .role = CARD_AUTHORITY,
                                    .label = "authority",
                                    .file = "authority",
                                    .not_after_s =
                                        clock_realtime_s() + AUTHORITY_VALID_S };
    struct phr_passphrase asked = *pass;
    int rc;

    writer_init(&card);
    writer_init(&srs);
    if (!asked.prompt)
        asked.prompt = "New passphrase of the authority";
    rc = keys_new(c, &wish, &asked, &i);
    if (rc == 0)
        rc = keys_approve(i, view_of(i->ring->card, i->ring->card_bytes), &card);
    if (rc == 0)
        rc = keys_set_card(i, writer_done(&card), true);
    if (rc == 0)
        rc = approve_srs(c, realm, i, &srs);
    if (rc == 0)
        rc = keys_set_anchors(i, writer_done(&card), writer_done(&srs));
    if (rc == 0)
        rc = keys_save(i, NULL);
    if (rc == 0)
        rc = fdio_save(realm, "srs.card", writer_done(&srs), 0644);
    if (rc == 0)
        rc = fdio_save(realm, "authority.card", writer_done(&card), 0644); /* REALM-1 */
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, "the authority's keys") : rc;
}

int phr_realm_init(struct phr_client *c, const struct phr_realm_wish *wish,
                   const struct phr_passphrase *authority)
{
    scoped(close_fd) int realm = -1;
    scoped(close_fd) int keys = -1;
    int rc;

    c->why[0] = '\0';
    rc = make_dirs(c);
    if (rc == 0)
        rc = client_open_dir(c, "realm", &realm);
    if (rc < 0)
        return rc;
    if (faccessat(realm, "authority.card", F_OK, 0) == 0)
        return client_fail(c, PHR_E_EXISTS,
                           "there is a realm at %s already; nothing was changed",
                           c->config.home);
    rc = write_conf(c, wish);
    if (rc == 0)
        rc = client_open_dir(c, "keys", &keys);
    if (rc == 0)
        rc = make_srs(c, realm);
    if (rc < 0)
        return rc;
    ignored(fdio_unlink(keys, "authority.keyring")); /* REALM-2 */
    return make_authority(c, realm, authority);
}
