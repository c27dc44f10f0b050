/*
 * Identities: keyrings in keys/, requests in realm/requests, cards in realm/cards. A card that
 * the authority has signed is taken up into its keyring at the next unlock, since only then
 * the passphrase is at hand.
 */
#include "phr/identity.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/secret.h"
#include "client/ask.h"
#include "client/keys.h"
#include "crypto/digest.h"

enum { DAYS_DEFAULT = 5 * 365, DAYS_MAX = 100 * 365, DAY_S = 24 * 60 * 60 };

static int label_path(const char *dir, const char *label, const char *ending, char *out,
                      size_t n);
static int adopt_card(struct phr_identity *i);
static int check_anchors(struct phr_identity *i);
static int each_in(struct phr_client *c, const char *dir_name, bool is_approved,
                   const struct verify_key *authority,
                   int (*on_identity)(void *user, const struct phr_identity_info *info),
                   void *user);

int phr_identity_new(struct phr_client *c, const struct phr_identity_wish *asked,
                     const struct phr_passphrase *pass)
{
    const char *label = asked->label;
    enum phr_role role = asked->role;
    uint64_t days = asked->valid_days ? asked->valid_days : DAYS_DEFAULT;
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(writer_fini) struct writer authority;
    scoped(writer_fini) struct writer srs;
    scoped(close_fd) int dir = -1;
    struct keys_wish wish = { .label = label,
                              .file = label,
                              .keyring_user = asked->keyring_user };
    struct card authority_card;
    struct card srs_card;
    char name[CLIENT_FILE_NAME_MAX + 1];
    int rc;

    writer_init(&authority);
    writer_init(&srs);
    c->why[0] = '\0';
    if (!label_is_valid(view_text(label)) || strcmp(label, "authority") == 0)
        return client_fail(c, PHR_E_USAGE,
                           "'%s' is not a label: 1 to 64 of a-z 0-9 . _ -", label);
    if (role != PHR_ROLE_PERSON && role != PHR_ROLE_SERVICE && role != PHR_ROLE_GROUP)
        return client_fail(c, PHR_E_USAGE,
                           "an identity is a person, a service or a group");
    wish.role = (enum card_role)role;
    if (days > DAYS_MAX)
        return client_fail(c, PHR_E_USAGE, "a card is valid for %d days at most",
                           DAYS_MAX);
    wish.not_after_s = clock_realtime_s() + days * DAY_S;
    rc = client_load_authority(c, &authority, &authority_card);
    if (rc == 0)
        rc = client_load_card(c, "srs.card", &authority_card.ed, &srs, &srs_card);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "realm/srs.card");
    wish.org = authority_card.org;
    rc = label_path("cards", label, ".card", name, sizeof name);
    if (rc == 0)
        rc = client_open_dir(c, "realm", &dir);
    if (rc < 0)
        return rc;
    if (faccessat(dir, name, F_OK, 0) == 0)
        return client_fail(c, PHR_E_EXISTS, "there is a card for %s already", label);
    rc = keys_new(c, &wish, pass, &i);
    if (rc == 0)
        rc = keys_set_anchors(i, writer_done(&authority), writer_done(&srs));
    if (rc == 0)
        rc = keys_save(i, asked->keyring_user);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "keyring");
    close(dir);
    dir = -1;
    rc = client_open_dir(c, "realm/requests", &dir);
    if (rc == 0 && snprintf(name, sizeof name, "%s.request", label) > 0)
        rc = fdio_save(dir, name, view_of(i->ring->card, i->ring->card_bytes), 0644);
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, "realm/requests") : rc;
}

static int label_path(const char *dir, const char *label, const char *ending, char *out,
                      size_t n)
{
    int len = snprintf(out, n, "%s/%s%s", dir, label, ending);

    return len < 0 || (size_t)len >= n ? PHR_E_LIMIT : 0;
}

int phr_identity_approve(struct phr_client *c, const char *label,
                         const struct phr_passphrase *authority)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(writer_fini) struct writer card;
    scoped(free) uint8_t *request = NULL;
    scoped(close_fd) int dir = -1;
    struct card asked;
    char name[CLIENT_FILE_NAME_MAX + 1];
    size_t n = 0;
    int rc;

    writer_init(&card);
    c->why[0] = '\0';
    if (!label_is_valid(view_text(label)))
        return client_fail(c, PHR_E_USAGE, "'%s' is not a label", label);
    rc = label_path("requests", label, ".request", name, sizeof name);
    if (rc == 0)
        rc = client_open_dir(c, "realm", &dir);
    if (rc == 0)
        rc = fdio_load(dir, name, CARD_BYTES_MAX, &request, &n);
    if (rc == -ENOENT)
        return client_fail(c, PHR_E_UNKNOWN_ID,
                           "no request of %s waits in realm/requests", label);
    if (rc == 0)
        rc = card_request_decode(view_of(request, n), &asked);
    if (rc == 0 && (strcmp(asked.label, label) != 0 || asked.role > CARD_GROUP))
        rc = client_fail(c, PHR_E_CARD, "the request names %s, not %s", asked.label,
                         label);
    if (rc == 0)
        rc = keys_unlock_authority(c, authority, &i);
    if (rc == 0)
        rc = keys_approve(i, view_of(request, n), &card);
    if (rc == 0)
        rc = label_path("cards", label, ".card", name, sizeof name);
    if (rc == 0) {
        scoped(close_fd) int cards = -1;

        rc = client_open_dir(c, "realm/cards", &cards);
        if (rc == 0)
            rc = fdio_save(cards, name + strlen("cards/"), writer_done(&card), 0644);
    }
    if (rc == 0 && label_path("requests", label, ".request", name, sizeof name) == 0)
        ignored(fdio_unlink(dir, name)); /* it is answered; a leftover changes nothing */
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, label) : rc;
}

static void fill_info(const struct card *card, bool is_approved, const char *file,
                      struct phr_client *c, struct phr_identity_info *out)
{
    char rel[CLIENT_FILE_NAME_MAX + 32];
    char path[PATH_MAX];

    *out = (struct phr_identity_info){ .role = (enum phr_role)card->role,
                                       .not_before_s = card->not_before_s,
                                       .not_after_s = card->not_after_s,
                                       .serial = card->serial,
                                       .is_approved = is_approved };
    ignored(snprintf(out->label, sizeof out->label, "%s", card->label)); /* same room */
    hex_encode(card->user.b, sizeof card->user.b, out->user);
    hex_encode(card->hash.b, sizeof card->hash.b, out->fingerprint);
    if (snprintf(rel, sizeof rel, "keys/%s.keyring", file) < (int)sizeof rel &&
        config_home_path(&c->config, rel, path, sizeof path) == 0)
        out->has_keyring = access(path, F_OK) == 0;
}

static int info_load(struct phr_client *c, const char *dir_name, const char *file,
                     bool is_approved, const struct verify_key *authority,
                     struct phr_identity_info *out)
{
    scoped(free) uint8_t *bytes = NULL;
    scoped(close_fd) int dir = -1;
    char stem[CLIENT_FILE_NAME_MAX + 1];
    struct card card;
    size_t n = 0;
    bool is_valid = false;
    const char *dot = strrchr(file, '.');
    int rc = client_open_dir(c, dir_name, &dir);

    if (rc == 0)
        rc = fdio_load(dir, file, CARD_BYTES_MAX, &bytes, &n);
    if (rc == 0 && is_approved)
        rc = card_decode(view_of(bytes, n), &card);
    else if (rc == 0)
        rc = card_request_decode(view_of(bytes, n), &card);
    if (rc < 0)
        return rc;
    if (is_approved)
        is_valid = card_check(view_of(bytes, n), authority, &card) == 0 &&
                   card_check_time(&card, clock_realtime_s()) == 0;
    else
        card.hash = digest_sha256(view_of(bytes, n));
    ignored(snprintf(stem, sizeof stem, "%.*s", (int)(dot ? dot - file : 0),
                     file)); /* bounded */
    fill_info(&card, is_approved, stem, c, out);
    out->is_valid = is_valid;
    return 0;
}

static int name_filter(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');

    return e->d_name[0] != '.' && dot &&
           (strcmp(dot, ".card") == 0 || strcmp(dot, ".request") == 0);
}

static int each_in(struct phr_client *c, const char *dir_name, bool is_approved,
                   const struct verify_key *authority,
                   int (*on_identity)(void *user, const struct phr_identity_info *info),
                   void *user)
{
    struct dirent **names = NULL;
    struct phr_identity_info info;
    char path[PATH_MAX];
    int rc = config_home_path(&c->config, dir_name, path, sizeof path);
    int count = rc < 0 ? 0 : scandir(path, &names, name_filter, alphasort);

    for (int k = 0; k < count; k++) {
        if (rc == 0 &&
            info_load(c, dir_name, names[k]->d_name, is_approved, authority, &info) == 0)
            rc = on_identity(user, &info);
        free(names[k]);
    }
    free(names);
    return rc;
}

int phr_identity_each(struct phr_client *c,
                      int (*on_identity)(void *user,
                                         const struct phr_identity_info *info),
                      void *user)
{
    scoped(writer_fini) struct writer bytes;
    struct card authority;
    int rc;

    writer_init(&bytes);
    c->why[0] = '\0';
    rc = client_load_authority(c, &bytes, &authority);
    if (rc == 0)
        rc = each_in(c, "realm/cards", true, &authority.ed, on_identity, user);
    if (rc == 0)
        rc = each_in(c, "realm/requests", false, &authority.ed, on_identity, user);
    return rc;
}

struct find {
    const char *label;
    struct phr_identity_info *out;
    bool is_found;
};

static int on_find(void *user, const struct phr_identity_info *info)
{
    struct find *f = user;

    if (strcmp(info->label, f->label) != 0 && strcmp(info->user, f->label) != 0)
        return 0;
    *f->out = *info;
    f->is_found = true;
    return 1; /* a card comes before a request */
}

int phr_identity_show(struct phr_client *c, const char *label,
                      struct phr_identity_info *out_info)
{
    struct find f = { .label = label, .out = out_info };
    int rc = phr_identity_each(c, on_find, &f);

    if (rc < 0)
        return rc;
    return f.is_found
               ? 0
               : client_fail(c, PHR_E_UNKNOWN_ID, "no identity is called %s", label);
}

int phr_identity_passwd(struct phr_client *c, const char *label,
                        const struct phr_passphrase *old_pass,
                        const struct phr_passphrase *new_pass)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(secret_free) uint8_t *pass = NULL;
    struct phr_passphrase asked = *new_pass;
    size_t n = 0;
    int rc = phr_identity_unlock(c, label, NULL, old_pass, &i);

    asked.is_new = true;
    if (rc == 0)
        rc = ask_passphrase(c, &asked, &pass, &n);
    if (rc < 0)
        return rc;
    secret_free(i->pass);
    i->pass = give(pass);
    i->pass_bytes = n;
    rc = keys_save(i, NULL);
    return rc < 0 ? client_fail_plain(c, rc, i->path) : 0;
}

static int load_keyring(struct phr_client *c, const char *path, uint8_t **out_bytes,
                        size_t *out_n)
{
    scoped(close_fd) int fd = -1;
    scoped(free) uint8_t *bytes = NULL;
    struct stat st;
    int rc = fdio_open(AT_FDCWD, path, O_RDONLY, 0, &fd);

    if (rc == -ENOENT)
        return client_fail(c, PHR_E_UNKNOWN_ID, "there is no keyring %s", path);
    if (rc < 0)
        return client_fail_plain(c, rc, path);
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return client_fail(c, PHR_E_RIGHTS, "the keyring is open to others; chmod 600 %s",
                           path);
    if (st.st_size <= 0 || st.st_size > KEYRING_BYTES_MAX)
        return client_fail(c, PHR_E_FORMAT, "%s is not a keyring", path);
    bytes = malloc((size_t)st.st_size);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(fd, bytes, (size_t)st.st_size, 0);
    if (rc < 0)
        return client_fail_plain(c, rc, path);
    *out_n = (size_t)st.st_size;
    *out_bytes = give(bytes);
    return 0;
}

static int fill_identity(struct phr_identity *i)
{
    struct keyring *ring = i->ring;
    struct view card = view_of(ring->card, ring->card_bytes);
    int rc;

    hex_encode(ring->user.b, sizeof ring->user.b, i->user_hex);
    i->sign = sign_key_from_seed(ring->seed);
    if (!i->sign)
        return -ENOMEM;
    rc = ring->is_approved ? card_decode(card, &i->card)
                           : card_request_decode(card, &i->card);
    if (rc == 0)
        rc = check_anchors(i);
    if (rc == 0 && !ring->is_approved)
        rc = adopt_card(i);
    return rc;
}

int phr_identity_unlock(struct phr_client *c, const char *label, const char *keyring_path,
                        const struct phr_passphrase *pass,
                        struct phr_identity **out_identity)
{
    scoped(phr_identity_lock) struct phr_identity *i = calloc(1, sizeof *i);
    scoped(free) uint8_t *bytes = NULL;
    char rel[CLIENT_FILE_NAME_MAX + 16];
    size_t n = 0;
    int rc;

    c->why[0] = '\0';
    if (!i)
        return -ENOMEM;
    i->client = c;
    if (!keyring_path && !keys_name_is_valid(label))
        return client_fail(c, PHR_E_UNKNOWN_ID, "'%s' cannot be the name of an identity",
                           label);
    if (keyring_path)
        rc = snprintf(i->path, sizeof i->path, "%s", keyring_path) < (int)sizeof i->path
                 ? 0
                 : PHR_E_LIMIT;
    else
        rc = snprintf(rel, sizeof rel, "keys/%s.keyring", label) < (int)sizeof rel
                 ? config_home_path(&c->config, rel, i->path, sizeof i->path)
                 : PHR_E_LIMIT;
    if (rc == 0)
        rc = load_keyring(c, i->path, &bytes, &n);
    if (rc == 0)
        rc = ask_passphrase(c, pass, &i->pass, &i->pass_bytes);
    if (rc == 0)
        rc = keyring_open_sealed(view_of(bytes, n), view_of(i->pass, i->pass_bytes),
                                 &i->ring);
    if (rc == PHR_E_PASSPHRASE && !c->why[0])
        return client_fail(c, rc, "wrong passphrase for %s, or a damaged keyring",
                           label ? label : keyring_path);
    if (rc == 0)
        rc = fill_identity(i);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, i->path);
    *out_identity = give(i);
    return 0;
}

/* The keyring's anchors are the truth; a realm directory that says otherwise was swapped. */
static int check_anchors(struct phr_identity *i)
{
    struct keyring *ring = i->ring;
    scoped(writer_fini) struct writer realm;
    struct card authority;
    int rc = card_decode(view_of(ring->authority_card, ring->authority_card_bytes),
                         &i->authority);

    writer_init(&realm);
    if (rc == 0)
        rc = card_check(view_of(ring->authority_card, ring->authority_card_bytes),
                        &i->authority.ed, &i->authority);
    if (rc == 0)
        rc = card_check(view_of(ring->srs_card, ring->srs_card_bytes), &i->authority.ed,
                        &i->srs);
    if (rc < 0)
        return client_fail(i->client, rc, "the trust anchors in %s are damaged", i->path);
    i->anchor = (struct verify_anchor){ .authority = i->authority.ed,
                                        .srs = i->srs.ed,
                                        .srs_card = i->srs.hash };
    rc = client_load_authority(i->client, &realm, &authority);
    if (rc == 0 && !digest_equal(&authority.hash, &i->authority.hash))
        rc = client_fail(i->client, PHR_E_CARD,
                         "%s/realm has another authority than this keyring trusts",
                         i->client->config.home);
    return rc;
}

static int adopt_card(struct phr_identity *i)
{
    scoped(writer_fini) struct writer bytes;
    char name[CLIENT_FILE_NAME_MAX + 1];
    struct card card;
    int rc = label_path("cards", i->card.label[0] ? i->card.label : i->user_hex, ".card",
                        name, sizeof name);

    writer_init(&bytes);
    if (rc == 0)
        rc = client_load_card(i->client, name, &i->authority.ed, &bytes, &card);
    if (rc == -ENOENT)
        return 0; /* still waits */
    if (rc < 0)
        return rc;
    if (!id_equal(&card.user, &i->card.user) ||
        !view_equal(view_of(card.ed.b, sizeof card.ed.b),
                    view_of(i->card.ed.b, sizeof i->card.ed.b)) ||
        !view_equal(view_of(card.b.b, sizeof card.b.b),
                    view_of(i->card.b.b, sizeof i->card.b.b)))
        return client_fail(i->client, PHR_E_CARD,
                           "realm/%s is for other keys than this keyring's", name);
    rc = keys_set_card(i, writer_done(&bytes), true);
    i->is_changed = rc == 0;
    return rc;
}

/* What the keyring learned (its card, pins, names) is kept when that is possible, and the worst
   of losing it is to learn it again: a user's keyring in root's directory cannot be replaced. */
void phr_identity_lock(struct phr_identity *i)
{
    if (!i)
        return;
    if (i->is_changed && i->ring && i->pass)
        ignored(keys_save(i, NULL));
    sign_key_free(i->sign);
    keyring_free(i->ring);
    secret_free(i->pass);
    free(i);
}

const char *phr_identity_get_user(const struct phr_identity *i)
{
    return i->user_hex;
}

bool phr_identity_is_approved(const struct phr_identity *i)
{
    return i->ring->is_approved;
}
