#include "proc/privs.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/checked.h"

enum { PASSWD_BYTES = 16 * 1024 };

int privs_find(const char *user, uid_t *out_uid, gid_t *out_gid)
{
    char room[PASSWD_BYTES];
    struct passwd pw;
    struct passwd *found = NULL;
    int err = getpwnam_r(user, &pw, room, sizeof room, &found);

    if (!found)
        return err == 0 || err == ENOENT ? PHR_E_UNKNOWN_ID : -err;
    *out_uid = pw.pw_uid;
    *out_gid = pw.pw_gid;
    return 0;
}

int privs_drop(const char *user)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int rc = privs_find(user, &uid, &gid);

    if (rc < 0)
        return rc;
    if (geteuid() != 0)
        return geteuid() == uid ? 0 : -EPERM;
    if (uid == 0)
        return 0;
    if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    INVARIANT(setuid(0) < 0 && getuid() == uid && geteuid() == uid); /* no way back */
    return 0;
}
