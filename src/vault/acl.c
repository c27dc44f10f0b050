/*
 * The binary form: LE32 version 2, then entries of LE16 tag, LE16 permissions, LE32 id, sorted
 * by tag and id, as the kernel's posix_acl_xattr has it.
 */
#include "vault/acl.h"

#include <unistd.h>

#include "crypto/digest.h"

enum {
    ACL_VERSION = 2,
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
    ACL_ENTRIES_MAX = 1024
};
#define ACL_NO_ID UINT32_MAX

static void entry(struct writer *out, unsigned tag, unsigned perm, uint32_t id)
{
    writer_u16(out, (uint16_t)tag);
    writer_u16(out, (uint16_t)perm);
    writer_u32(out, id);
}

/* rwx bits that a session's right gives on a node of this mode. */
static unsigned perm_of(const struct class_key *k, mode_t mode)
{
    unsigned x = S_ISDIR(mode) || (mode & 0111) ? 1 : 0;

    if (!k)
        return 0;
    return 4 | x | (k->rights == GRANT_RW ? 2u : 0u);
}

static unsigned perm_of_session(const struct session *s, const struct id16 *patient,
                                const struct id16 *class_id, mode_t mode)
{
    if (s->is_leaving)
        return 0;
    if (class_id)
        return perm_of(session_class(s->id, class_id), mode);
    for (const struct class_key *k = s->id->classes; k; k = k->next)
        if (k->is_current && id_equal(&k->ctx.patient, patient))
            return 5;
    return 0;
}

int acl_of_grants(struct vault *v, const struct id16 *patient, const struct id16 *class_id,
                  mode_t mode, struct writer *out)
{
    unsigned full = !class_id ? 5 : S_ISDIR(mode) || (mode & 0111) ? 7 : 6;
    unsigned other = 0;
    uint32_t last = 0;
    bool has_last = false;

    writer_u32(out, ACL_VERSION);
    entry(out, ACL_USER_OBJ, full, ACL_NO_ID);
    for (;;) { /* sorted by uid: the next greater one each time */
        struct session *next = NULL;

        for (struct session *s = v->sessions; s; s = s->next)
            if (s->uid != VAULT_UID_ANY && (!has_last || s->uid > last) &&
                (!next || s->uid < next->uid))
                next = s;
        if (!next)
            break;
        last = next->uid;
        has_last = true;
        entry(out, ACL_USER, perm_of_session(next, patient, class_id, mode), next->uid);
    }
    for (struct session *s = v->sessions; s; s = s->next)
        if (s->uid == VAULT_UID_ANY)
            other = perm_of_session(s, patient, class_id, mode);
    entry(out, ACL_GROUP_OBJ, 0, ACL_NO_ID);
    entry(out, ACL_MASK, full, ACL_NO_ID);
    entry(out, ACL_OTHER, other, ACL_NO_ID);
    return writer_ok(out) ? 0 : -ENOMEM;
}

void acl_show_grants(struct vault *v, const struct id16 *class_id, struct stat *io_st)
{
    mode_t type = io_st->st_mode & S_IFMT;
    mode_t full = S_ISDIR(type) || (io_st->st_mode & 0111) ? 0770 : 0660;

    for (struct session *s = v->sessions; s; s = s->next)
        if (s->uid == VAULT_UID_ANY)
            full |= perm_of_session(s, NULL, class_id, io_st->st_mode);
    io_st->st_mode = type == S_IFLNK ? (S_IFLNK | 0777) : (type | full);
    io_st->st_uid = 0;
    io_st->st_gid = 0;
}

void acl_show_root(struct stat *io_st)
{
    io_st->st_uid = geteuid();
    io_st->st_gid = getegid();
}

mode_t acl_top_mode(const struct vault *v)
{
    return v->opts.ownership == VAULT_OWNERSHIP_GRANTS ? 0550 : 0555;
}

/* ---- stored ACLs ---- */

struct acl {
    size_t count;
    struct {
        unsigned tag;
        unsigned perm;
        uint32_t id;
    } e[ACL_ENTRIES_MAX];
};

static int decode(struct view bytes, struct acl *out)
{
    struct reader r = reader_over(bytes);

    out->count = 0;
    if (reader_u32(&r) != ACL_VERSION)
        return -EINVAL;
    while (r.left > 0 && reader_ok(&r)) {
        if (out->count == ACL_ENTRIES_MAX)
            return -EINVAL;
        out->e[out->count].tag = reader_u16(&r);
        out->e[out->count].perm = reader_u16(&r) & 7u;
        out->e[out->count].id = reader_u32(&r);
        out->count++;
    }
    return reader_done(&r) && out->count >= 3 ? 0 : -EINVAL;
}

static int encode(const struct acl *a, struct writer *out)
{
    writer_u32(out, ACL_VERSION);
    for (size_t i = 0; i < a->count; i++)
        entry(out, a->e[i].tag, a->e[i].perm, a->e[i].id);
    return writer_ok(out) ? 0 : -ENOMEM;
}

/* The entry that the group bits of the mode stand for. */
static unsigned group_tag(const struct acl *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->e[i].tag == ACL_MASK)
            return ACL_MASK;
    return ACL_GROUP_OBJ;
}

int acl_chmod(struct view access, mode_t mode, struct writer *out)
{
    struct acl a;
    unsigned group;
    int rc = decode(access, &a);

    if (rc < 0)
        return rc;
    group = group_tag(&a);
    for (size_t i = 0; i < a.count; i++) {
        if (a.e[i].tag == ACL_USER_OBJ)
            a.e[i].perm = (mode >> 6) & 7;
        else if (a.e[i].tag == group)
            a.e[i].perm = (mode >> 3) & 7;
        else if (a.e[i].tag == ACL_OTHER)
            a.e[i].perm = mode & 7;
    }
    return encode(&a, out);
}

int acl_to_mode(struct view access, mode_t mode, mode_t *out_mode, bool *out_minimal)
{
    struct acl a;
    unsigned group;
    mode_t bits = 0;
    int rc = decode(access, &a);

    if (rc < 0)
        return rc;
    group = group_tag(&a);
    for (size_t i = 0; i < a.count; i++) {
        if (a.e[i].tag == ACL_USER_OBJ)
            bits |= a.e[i].perm << 6;
        else if (a.e[i].tag == group)
            bits |= a.e[i].perm << 3;
        else if (a.e[i].tag == ACL_OTHER)
            bits |= a.e[i].perm;
    }
    *out_mode = (mode & ~(mode_t)0777) | bits;
    *out_minimal = a.count == 3;
    return 0;
}

int acl_inherit(struct view dir_default, mode_t mode, mode_t umask, mode_t *out_mode,
                struct writer *out_access)
{
    struct acl a;
    unsigned group;
    mode_t bits = 0;
    int rc;

    if (dir_default.n == 0) {
        *out_mode = mode & ~umask;
        return 0;
    }
    rc = decode(dir_default, &a);
    if (rc < 0)
        return rc;
    group = group_tag(&a);
    for (size_t i = 0; i < a.count; i++) {
        unsigned shift = a.e[i].tag == ACL_USER_OBJ ? 6 : a.e[i].tag == group ? 3 : 0;

        if (a.e[i].tag != ACL_USER_OBJ && a.e[i].tag != group && a.e[i].tag != ACL_OTHER)
            continue;
        a.e[i].perm &= (mode >> shift) & 7;
        bits |= a.e[i].perm << shift;
    }
    *out_mode = (mode & ~(mode_t)0777) | bits;
    if (a.count == 3)
        return 0; /* the bits say it all */
    return encode(&a, out_access);
}
