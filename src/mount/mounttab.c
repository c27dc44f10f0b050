#include "mount/mounttab.h"

#include <mntent.h>
#include <stdio.h>
#include <string.h>

bool mounttab_is_ours(const char *dir, const char *source)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    char line[8192];
    struct mntent entry;
    bool is_ours = false;

    if (!table)
        return false;
    while (getmntent_r(table, &entry, line, (int)sizeof line)) {
        if (strcmp(entry.mnt_dir, dir) == 0) /* the last one is on top */
            is_ours = strcmp(entry.mnt_type, "fuse.phrfs") == 0 &&
                      strcmp(entry.mnt_fsname, source) == 0;
    }
    endmntent(table);
    return is_ours;
}
