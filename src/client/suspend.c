/*
 * The authority's list of identities that the server refuses: all of them in one signed,
 * numbered list, which replaces the one before. A copy lies in realm/suspended.list; it is
 * written after the server took it, so a list that was lost is made again from the one before.
 */
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "client/keys.h"
#include "crypto/digest.h"
#include "format/suspension.h"

static const char list_name[] = "suspended.list";

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id16));
}

/* The list before; none yet is an empty one. *out_users has room for one more. */
static int load_list(struct phr_client *c, const struct verify_key *authority,
                     struct id16 **out_users, struct suspension *out_list)
{
    scoped(free) uint8_t *bytes = NULL;
    scoped(close_fd) int dir = -1;
    size_t n = 0;
    int rc = client_open_dir(c, "realm", &dir);

    *out_list = (struct suspension){ 0 };
    if (rc < 0)
        return rc;
    rc = fdio_load(dir, list_name, SUSPENSION_BYTES_MAX, &bytes, &n);
    if (rc == 0)
        rc = suspension_check(view_of(bytes, n), authority, out_list);
    if (rc < 0 && rc != -ENOENT)
        return client_fail_plain(c, rc, "realm/suspended.list");
    *out_users = calloc(out_list->count + 1, sizeof **out_users);
    if (!*out_users)
        return -ENOMEM;
    for (uint32_t i = 0; i < out_list->count; i++)
        (*out_users)[i] = suspension_get_user(out_list, i);
    return 0;
}

static uint32_t find(const struct id16 *users, uint32_t count, const struct id16 *user)
{
    uint32_t at = 0;

    while (at < count && !id_equal(&users[at], user))
        at++;
    return at;
}

static int push_list(struct phr_client *c, struct view list)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(close_fd) int dir = -1;
    scoped(writer_fini) struct writer ask;
    int rc;

    writer_init(&ask);
    writer_lp(&ask, list);
    if (!writer_ok(&ask))
        return -ENOMEM;
    rc =
        client_ask(c, MSG_SUSPEND, writer_done(&ask), -1, CLIENT_CALL_TIMEOUT_MS, &reply);
    if (rc == 0)
        rc = client_open_dir(c, "realm", &dir);
    if (rc == 0)
        rc = fdio_save(dir, list_name, list, 0644);
    return rc;
}

int phr_identity_suspend(struct phr_client *c, const char *label, bool is_back,
                         const struct phr_passphrase *authority)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(free) struct id16 *users = NULL;
    scoped(writer_fini) struct writer out;
    struct phr_identity_info info;
    struct suspension list;
    struct id16 user;
    uint32_t at;
    int rc = phr_identity_show(c, label, &info);

    writer_init(&out);
    if (rc == 0)
        rc = hex_decode(info.user, user.b, sizeof user.b);
    if (rc == 0)
        rc = keys_unlock_authority(c, authority, &i);
    if (rc == 0)
        rc = load_list(c, &i->card.ed, &users, &list);
    if (rc < 0)
        return rc;
    at = find(users, list.count, &user);
    if ((at < list.count) == !is_back)
        return client_fail(c, PHR_E_EXISTS,
                           is_back ? "%s is not suspended" : "%s is suspended already",
                           label);
    if (is_back)
        users[at] = users[--list.count];
    else
        users[list.count++] = user;
    qsort(users, list.count, sizeof *users, by_id);
    list.time_s = clock_realtime_s();
    list.serial = list.serial < list.time_s ? list.time_s : list.serial + 1;
    list.users = view_of(users, (size_t)list.count * sizeof *users);
    rc = suspension_encode(&list, i->sign, &out);
    if (rc == 0)
        rc = push_list(c, writer_done(&out));
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, label) : rc;
}
