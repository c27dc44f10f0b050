#include "mount/ctlpath.h"

#include <inttypes.h>
#include <stdio.h>

/* FNV-1a: a name for a socket, no secret and no promise; an accident shows as PHR_E_BUSY. */
static uint64_t hash_text(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h;
}

int ctlpath_make(const struct config *config, const char *dir, char out_path[PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof name, "%016" PRIx64 ".ctl", hash_text(dir));
    return config_run_path(config, name, out_path, PATH_MAX);
}
