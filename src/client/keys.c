#include "client/keys.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/secret.h"
#include "client/ask.h"
#include "crypto/digest.h"
#include "crypto/pre.h"

enum {
    CLOCK_SKEW_S = 300
}; /* a card is valid this long before it was made: clocks differ */

/* A file name of one part that no shell, listing or temporary file trips over. */
bool keys_name_is_valid(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > CLIENT_ID_BYTES_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    }
    return true;
}

static int set_path(struct phr_identity *i, const char *file)
{
    char rel[CLIENT_FILE_NAME_MAX + 16];
    int len = snprintf(rel, sizeof rel, "keys/%s.keyring", file);

    if (len < 0 || (size_t)len >= sizeof rel)
        return PHR_E_LIMIT;
    return config_home_path(&i->client->config, rel, i->path, sizeof i->path);
}

static int dup_bytes(struct view from, uint8_t **io_to, size_t *out_n)
{
    uint8_t *copy = malloc(from.n ? from.n : 1);

    if (!copy)
        return -ENOMEM;
    if (from.n)
        memcpy(copy, from.p, from.n);
    free(*io_to);
    *io_to = copy;
    *out_n = from.n;
    return 0;
}

int keys_set_card(struct phr_identity *i, struct view card, bool is_approved)
{
    int rc =
        is_approved ? card_decode(card, &i->card) : card_request_decode(card, &i->card);

    if (rc == 0)
        rc = dup_bytes(card, &i->ring->card, &i->ring->card_bytes);
    if (rc == 0)
        i->ring->is_approved = is_approved;
    return rc;
}

int keys_set_anchors(struct phr_identity *i, struct view authority, struct view srs)
{
    int rc =
        dup_bytes(authority, &i->ring->authority_card, &i->ring->authority_card_bytes);

    if (rc == 0)
        rc = card_decode(authority, &i->authority);
    if (rc == 0 && srs.n > 0)
        rc = dup_bytes(srs, &i->ring->srs_card, &i->ring->srs_card_bytes);
    if (rc == 0 && srs.n > 0)
        rc = card_check(srs, &i->authority.ed, &i->srs);
    if (rc < 0)
        return rc;
    i->anchor.authority = i->authority.ed;
    i->anchor.srs = i->srs.ed;
    i->anchor.srs_card = i->srs.hash;
    return 0;
}

static int make_request(struct phr_identity *i, const struct keys_wish *wish)
{
    scoped(writer_fini) struct writer out;
    struct card card = { .role = wish->role, .org = wish->org };
    uint64_t now = clock_realtime_s();
    int rc;

    writer_init(&out);
    card.ed = sign_key_public(i->sign);
    if (wish->role == CARD_OWNER)
        i->ring->user = patient_id(&card.ed);
    card.user = i->ring->user;
    if (id_is_zero(&card.org))
        card.org = card.user;
    card.not_before_s = now - CLOCK_SKEW_S;
    card.not_after_s = wish->not_after_s;
    card.serial = now;
    ignored(snprintf(card.label, sizeof card.label, "%s",
                     wish->label)); /* checked by the caller */
    rc = pre_public(i->ring->b, &card.b);
    if (rc == 0)
        rc = card_request_encode(&card, i->sign, i->ring->b, &out);
    if (rc == 0)
        rc = keys_set_card(i, writer_done(&out), false);
    hex_encode(i->ring->user.b, sizeof i->ring->user.b, i->user_hex);
    return rc;
}

int keys_new(struct phr_client *c, const struct keys_wish *wish,
             const struct phr_passphrase *pass, struct phr_identity **out_identity)
{
    scoped(phr_identity_lock) struct phr_identity *i = calloc(1, sizeof *i);
    struct phr_passphrase asked = *pass;
    int rc;

    if (!i)
        return -ENOMEM;
    i->client = c;
    rc = set_path(i, wish->file);
    if (rc < 0)
        return rc;
    if (access(i->path, F_OK) == 0)
        return client_fail(c, PHR_E_EXISTS, "%s exists already; nothing was changed",
                           i->path);
    asked.is_new = true;
    rc = ask_passphrase(c, &asked, &i->pass, &i->pass_bytes);
    if (rc == 0)
        rc = keyring_new(&i->ring);
    if (rc < 0)
        return rc;
    i->sign = sign_key_from_seed(i->ring->seed);
    if (!i->sign)
        return -ENOMEM;
    rc = make_request(i, wish);
    if (rc < 0)
        return rc;
    *out_identity = give(i);
    return 0;
}

static int chown_like(int dir, const char *name, const char *keyring_user,
                      const struct stat *was)
{
    uid_t uid = was ? was->st_uid : geteuid();
    gid_t gid = was ? was->st_gid : getegid();

    if (keyring_user) {
        const struct passwd *pw = getpwnam(keyring_user);

        if (!pw)
            return -ENOENT;
        uid = pw->pw_uid;
        gid = pw->pw_gid;
    }
    if (uid == geteuid())
        return 0;
    return fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int keys_save(struct phr_identity *i, const char *keyring_user)
{
    scoped(writer_fini) struct writer out;
    scoped(close_fd) int dir = -1;
    char dir_path[PATH_MAX];
    struct stat st;
    bool has_old;
    char *slash;
    int rc;

    writer_init(&out);
    ignored(snprintf(dir_path, sizeof dir_path, "%s", i->path));
    slash = strrchr(dir_path, '/');
    if (!slash)
        return PHR_E_USAGE;
    *slash = '\0';
    rc = fdio_open_dir(AT_FDCWD, dir_path[0] ? dir_path : "/", &dir);
    if (rc == 0 && faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) < 0)
        rc = -errno; /* before the second that sealing takes */
    if (rc == 0)
        rc = keyring_seal(i->ring, view_of(i->pass, i->pass_bytes), &out);
    if (rc < 0)
        return rc;
    has_old = fstatat(dir, slash + 1, &st, AT_SYMLINK_NOFOLLOW) == 0;
    rc = fdio_save(dir, slash + 1, writer_done(&out), 0600);
    if (rc == 0)
        rc = chown_like(dir, slash + 1, keyring_user, has_old ? &st : NULL);
    if (rc == 0)
        i->is_changed = false;
    return rc;
}

int keys_approve(struct phr_identity *authority, struct view request,
                 struct writer *out_card)
{
    if (authority->card.role != CARD_AUTHORITY)
        return client_fail(authority->client, PHR_E_RIGHTS,
                           "only the authority's keyring signs cards");
    return card_approve(request, authority->sign, out_card);
}

int keys_unlock_authority(struct phr_client *c, const struct phr_passphrase *pass,
                          struct phr_identity **out_identity)
{
    struct phr_passphrase asked = *pass;

    if (!asked.prompt)
        asked.prompt = "Passphrase of the authority";
    return phr_identity_unlock(c, "authority", NULL, &asked, out_identity);
}
