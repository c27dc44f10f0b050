#include "phr/err.h"

#include <string.h>

static const struct {
    int number;
    int sys;
    int exit_status;
    const char *name;
    const char *text;
} reasons[] = {
#define X(name, number, sys, status, text) { number, sys, status, #name, text },
    PHR_ERRORS(X)
#undef X
};

enum { EXIT_KERNEL_REASON = 1 };

static int find(int rc)
{
    for (int i = 0; i < (int)(sizeof reasons / sizeof reasons[0]); i++) {
        if (reasons[i].number == rc)
            return i;
    }
    return -1;
}

const char *phr_err_text(int rc)
{
    int i = find(rc);

    if (rc >= 0)
        return "no error";
    if (i >= 0)
        return reasons[i].text;
    return strerrordesc_np(-rc) ? strerrordesc_np(-rc) : "unknown reason";
}

int phr_err_errno(int rc)
{
    int i = find(rc);

    if (rc >= 0)
        return 0;
    if (i >= 0)
        return reasons[i].sys;
    return rc > -4096 ? -rc : EIO;
}

int phr_err_exit(int rc)
{
    int i = find(rc);

    if (rc >= 0)
        return 0;
    return i >= 0 ? reasons[i].exit_status : EXIT_KERNEL_REASON;
}

const char *phr_err_name(int rc)
{
    int i = find(rc);

    if (i >= 0)
        return reasons[i].name;
    return rc < 0 && strerrorname_np(-rc) ? strerrorname_np(-rc) : "errno";
}
