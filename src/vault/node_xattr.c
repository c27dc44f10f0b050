/* Extended attributes: kept sealed in the inode; ACLs stored, or computed from grants. */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "vault/acl.h"
#include "vault/names.h"
#include "vault/node.h"

static const char acl_access_name[] = "system.posix_acl_access";
static const char acl_default_name[] = "system.posix_acl_default";

static bool starts_with(struct view name, const char *prefix)
{
    size_t n = strlen(prefix);

    return name.n > n && memcmp(name.p, prefix, n) == 0;
}

static bool is_name(struct view name, const char *text)
{
    return view_equal(name, view_text(text));
}

/*
 * A label of SELinux is a matter of a host's policy, not of a vault that many hosts share: a kernel
 * with SELinux labels a FUSE mount by itself and never asks. Any other is told once that there are
 * none: ls remembers that for the whole mount, and does not ask again for each file.
 */
static int check_name(struct view name)
{
    if (name.n == 0 || name.n > NAME_BYTES_MAX)
        return -ERANGE;
    if (is_name(name, "security.selinux"))
        return -EOPNOTSUPP;
    if (starts_with(name, "user.") || starts_with(name, "trusted.") ||
        starts_with(name, "security.") || is_name(name, acl_access_name) ||
        is_name(name, acl_default_name))
        return 0;
    if (is_name(name, "user.") || is_name(name, "trusted.") || is_name(name, "security."))
        return -EINVAL;
    return -EOPNOTSUPP;
}

static bool is_acl(struct view name)
{
    return is_name(name, acl_access_name) || is_name(name, acl_default_name);
}

static int computed_acl(struct vault *v, const struct node *n, struct view name, struct writer *out)
{
    bool is_class = n->row.kind == NODE_BELOW || n->row.kind == NODE_CLASS;

    if (!is_name(name, acl_access_name) || n->row.kind == NODE_ROOT || S_ISLNK(n->attr.mode))
        return -ENODATA;
    return acl_of_grants(v, &n->row.ino, is_class ? &n->row.class_id : NULL, n->attr.mode, out);
}

static int get_locked(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                      struct writer *out)
{
    scoped(names_fini) struct node n = { 0 };
    struct session *s;
    struct class_key *k;
    struct view value;
    int rc = names_load(v, nodeid, &n);

    if (rc < 0)
        return rc;
    if (v->opts.ownership == VAULT_OWNERSHIP_GRANTS && is_acl(name))
        return computed_acl(v, &n, name, out);
    if (n.row.kind == NODE_ROOT || n.row.kind == NODE_PATIENT)
        return -ENODATA;
    if (!is_acl(name)) { /* the kernel reads ACLs for whoever comes */
        rc = access_right(v, who, &n.row.class_id, ACCESS_READ, &s, &k);
        if (rc < 0)
            return rc;
    }
    rc = xattr_get(n.attr.xattrs, name, &value);
    if (rc < 0)
        return rc;
    writer_view(out, value);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int node_getxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                  struct writer *out)
{
    int rc = check_name(name);

    if (rc < 0)
        return rc;
    nsdb_lock(v->db);
    rc = get_locked(v, who, nodeid, name, out);
    nsdb_unlock(v->db);
    return rc;
}

/* The kernel gives values of trusted.* to root alone; nobody else sees their names either. */
static int list_names(struct view xattrs, const struct who *who, struct writer *out)
{
    scoped(writer_fini) struct writer names = { 0 };
    struct view left;
    int rc;

    if (who->uid == 0)
        return xattr_names(xattrs, out);
    writer_init(&names);
    rc = xattr_names(xattrs, &names);
    if (rc < 0)
        return rc;
    if (!writer_ok(&names))
        return -ENOMEM;
    for (left = writer_done(&names); left.n > 0;) {
        struct view name = view_of(left.p, strnlen((const char *)left.p, left.n - 1));

        if (!starts_with(name, "trusted."))
            writer_view(out, view_of(left.p, name.n + 1));
        left = view_of(left.p + name.n + 1, left.n - name.n - 1);
    }
    return 0;
}

int node_listxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct writer *out)
{
    scoped(names_fini) struct node n = { 0 };
    struct session *s;
    struct class_key *k;
    int rc;

    nsdb_lock(v->db);
    rc = names_load(v, nodeid, &n);
    if (rc == 0 && (n.row.kind == NODE_BELOW || n.row.kind == NODE_CLASS)) {
        rc = access_right(v, who, &n.row.class_id, ACCESS_READ, &s, &k);
        if (rc == 0)
            rc = list_names(n.attr.xattrs, who, out);
    }
    nsdb_unlock(v->db);
    return rc;
}

/* The caller is neither root nor in the file's group: setfacl then drops set-group-id. */
static bool is_outside_group(const struct who *who, uint32_t gid)
{
    char path[48];
    char line[4096];
    bool found = false;
    FILE *f;

    if (who->uid == 0 || who->gid == gid)
        return false;
    snprintf(path, sizeof path, "/proc/%d/status", who->pid);
    f = fopen(path, "re");
    if (!f)
        return true;
    while (!found && fgets(line, sizeof line, f)) {
        char *p = line + 7;

        if (strncmp(line, "Groups:", 7) != 0)
            continue;
        while (*p && !found) {
            char *end;
            unsigned long group = strtoul(p, &end, 10);

            if (end == p)
                break;
            found = group == gid;
            p = end;
        }
        break;
    }
    fclose(f);
    return !found;
}

/* An access ACL is also mode bits; one that says no more than they is not kept. */
static int set_access_acl(const struct who *who, struct inode_attr *attr, struct view *io_value)
{
    mode_t mode;
    bool minimal;
    int rc;

    if (!io_value->p)
        return 0;
    if (S_ISLNK(attr->mode))
        return -EOPNOTSUPP;
    rc = acl_to_mode(*io_value, attr->mode, &mode, &minimal);
    if (rc < 0)
        return rc;
    if ((mode & S_ISGID) && S_ISREG(mode) && is_outside_group(who, attr->gid))
        mode &= ~(mode_t)S_ISGID;
    attr->mode = mode;
    if (minimal)
        *io_value = view_of(NULL, 0);
    return 0;
}

static int change_locked(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                         struct view value, int flags)
{
    scoped(names_fini) struct node n = { 0 };
    scoped(writer_fini) struct writer list = { 0 };
    struct inode_attr attr;
    struct session *s;
    struct class_key *k;
    struct view before;
    bool there;
    int rc = names_load(v, nodeid, &n);

    if (rc < 0)
        return rc;
    if (n.row.kind == NODE_ROOT || n.row.kind == NODE_PATIENT)
        return -EPERM;
    if (v->opts.ownership == VAULT_OWNERSHIP_GRANTS && is_acl(name))
        return -EPERM; /* rights come from grants alone */
    rc = access_right(v, who, &n.row.class_id, ACCESS_WRITE, &s, &k);
    if (rc < 0)
        return rc;
    writer_init(&list);
    attr = n.attr;
    touch_apply(v, nodeid, &attr.mtime, &attr.ctime);
    there = xattr_get(attr.xattrs, name, &before) == 0;
    if ((flags & XATTR_CREATE) && there)
        return -EEXIST;
    if ((flags & XATTR_REPLACE) && !there) /* an ACL that is not there may be removed */
        return is_acl(name) && !value.p ? 0 : -ENODATA;
    if (is_name(name, acl_default_name) && !S_ISDIR(attr.mode))
        return value.p ? -EACCES : 0;
    if (is_name(name, acl_access_name))
        rc = set_access_acl(who, &attr, &value);
    if (rc == 0 && (value.p || there))
        rc = xattr_set(attr.xattrs, name, value, &list);
    else if (rc == 0)
        writer_view(&list, attr.xattrs);
    if (rc < 0)
        return rc;
    attr.xattrs = writer_done(&list);
    attr.ctime = names_now();
    touch_drop(v, nodeid);
    return names_set_attr(v, &n, &attr, &s->id->user);
}

int node_setxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                  struct view value, int flags)
{
    static const uint8_t empty;
    int rc = check_name(name);

    if (rc < 0)
        return rc;
    if (vault_is_read_only(v))
        return -EROFS;
    if (value.n > XATTR_VALUE_BYTES_MAX)
        return -E2BIG;
    if (!value.p)
        value = view_of(&empty, 0);
    nsdb_lock(v->db);
    rc = change_locked(v, who, nodeid, name, value, flags);
    nsdb_unlock(v->db);
    return rc;
}

int node_removexattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name)
{
    int rc = check_name(name);

    if (rc < 0)
        return rc;
    if (vault_is_read_only(v))
        return -EROFS;
    nsdb_lock(v->db);
    rc = change_locked(v, who, nodeid, name, view_of(NULL, 0), XATTR_REPLACE);
    nsdb_unlock(v->db);
    return rc;
}
