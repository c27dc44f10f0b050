#include "proc/harden.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/scope.h"

int harden_process(void)
{
    const struct rlimit none = { 0, 0 };

    umask(077);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return -errno;
    /* Also takes /proc/PID/mem and ptrace from other processes of the same user. */
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

int harden_no_new_privs(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

void harden_raise_files(unsigned long max)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return;
    if (lim.rlim_cur >= max)
        return;
    lim.rlim_cur = lim.rlim_max < max ? lim.rlim_max : max;
    ignored(setrlimit(RLIMIT_NOFILE, &lim)); /* fewer files at once, nothing else */
}

void harden_raise_memlock(unsigned long bytes)
{
    struct rlimit lim;
    struct rlimit wanted = { bytes, bytes };

    if (getrlimit(RLIMIT_MEMLOCK, &lim) < 0 || lim.rlim_cur >= bytes)
        return;
    if (lim.rlim_max >= bytes)
        wanted.rlim_max = lim.rlim_max;
    if (setrlimit(RLIMIT_MEMLOCK, &wanted) == 0)
        return;
    lim.rlim_cur = lim.rlim_max; /* not ours to raise further */
    ignored(setrlimit(RLIMIT_MEMLOCK, &lim)); /* the arena says so when it is too little */
}
