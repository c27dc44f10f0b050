#include "proc/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/scope.h"
#include "proc/harden.h"
#include "proc/landlock.h"

enum { EXIT_SANDBOX = 128 + SIGSYS };

/* The leak checker of a test build looks into its process from a child, by ptrace, at the end. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool has_leak_checker = true;
#else
static const bool has_leak_checker = false;
#endif

/* Nothing that we link has a reason to make these: SIGSYS. */
static const int forbidden[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise), SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp), SCMP_SYS(mount), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns),
    SCMP_SYS(unshare), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(swapon),
    SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
    SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex), SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(syslog),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(modify_ldt), SCMP_SYS(uselib),
    SCMP_SYS(ustat), SCMP_SYS(vhangup), SCMP_SYS(lookup_dcookie), SCMP_SYS(fanotify_init),
    SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(move_pages), SCMP_SYS(migrate_pages)
};

static void on_sigsys(int signo, siginfo_t *info, void *context);
static int add_forbidden(scmp_filter_ctx ctx, const struct sandbox_opts *opts);
static int add_threads_only(scmp_filter_ctx ctx);
static int add_sockets(scmp_filter_ctx ctx, enum sandbox_profile profile);
static int add_misc(scmp_filter_ctx ctx);
static int load_filter(const struct sandbox_opts *opts);

int sandbox_enter(const struct sandbox_opts *opts, int *out_landlock_abi)
{
    struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
    int abi = 0;
    int rc;

    if (sigaction(SIGSYS, &action, NULL) < 0)
        return -errno;
    rc = harden_no_new_privs();
    if (rc == 0)
        rc = landlock_enter(opts, &abi);
    if (rc == 0)
        rc = load_filter(opts);
    if (rc < 0)
        return rc;
    if (out_landlock_abi)
        *out_landlock_abi = abi;
    return 0;
}

/* Only what may be done in a signal handler: digits by hand, one write, the end. */
static void on_sigsys(int signo, siginfo_t *info, void *context)
{
    char line[64] = "sandbox: forbidden system call ";
    char digits[12];
    size_t n = strlen(line);
    size_t d = 0;
    unsigned call = (unsigned)info->si_syscall;

    (void)signo;
    (void)context;
    do {
        digits[d++] = (char)('0' + call % 10);
        call /= 10;
    } while (call > 0);
    while (d > 0)
        line[n++] = digits[--d];
    line[n++] = '\n';
    ignored(write(STDERR_FILENO, line, n)); /* nowhere else to say it */
    _exit(EXIT_SANDBOX);
}

static int load_filter(const struct sandbox_opts *opts)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int rc;

    if (!ctx)
        return -ENOMEM;
    rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    /* Another architecture's numbers (x32, i386) would walk around the rules. */
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = add_forbidden(ctx, opts);
    if (rc == 0)
        rc = add_threads_only(ctx);
    if (rc == 0)
        rc = add_sockets(ctx, opts->profile);
    if (rc == 0)
        rc = add_misc(ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc;
}

static int add_forbidden(scmp_filter_ctx ctx, const struct sandbox_opts *opts)
{
    int rc = 0;

    for (size_t i = 0; i < ARRAY_COUNT(forbidden) && rc == 0; i++) {
        if (forbidden[i] == SCMP_SYS(ptrace) && has_leak_checker)
            continue;
        rc = seccomp_rule_add(ctx, SCMP_ACT_TRAP, forbidden[i], 0);
        if (rc == -EDOM)
            rc = 0; /* not a call of this architecture */
    }
    if (rc == 0 && !opts->may_unmount)
        rc = seccomp_rule_add(ctx, SCMP_ACT_TRAP, SCMP_SYS(umount2), 0);
    return rc;
}

/* clone with CLONE_THREAD only. clone3 hides its flags in memory: ENOSYS, and glibc uses clone. */
static int add_threads_only(scmp_filter_ctx ctx)
{
    static const unsigned long spaces[] = { CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID,
                                            CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS,
                                            CLONE_NEWCGROUP };
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    if (rc == 0 && has_leak_checker)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, 0));
    else if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    for (size_t i = 0; i < ARRAY_COUNT(spaces) && rc == 0; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, spaces[i], spaces[i]));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fork), 0);
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(vfork), 0);
    return rc == -EDOM ? 0 : rc;
}

static int add_sockets(scmp_filter_ctx ctx, enum sandbox_profile profile)
{
    const uint32_t refuse = SCMP_ACT_ERRNO(EAFNOSUPPORT);
    int rc = 0;

    if (profile == SANDBOX_MOUNT)
        return seccomp_rule_add(ctx, refuse, SCMP_SYS(socket), 1,
                                SCMP_A0(SCMP_CMP_NE, AF_UNIX, 0));
    /* The resolver asks netlink which addresses this machine has. */
    for (unsigned family = 0; family < AF_NETLINK && rc == 0; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6)
            continue;
        rc = seccomp_rule_add(ctx, refuse, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family, 0));
    }
    if (rc == 0)
        rc = seccomp_rule_add(ctx, refuse, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0));
    return rc;
}

static int add_misc(scmp_filter_ctx ctx)
{
    static const int rings[] = { SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                                 SCMP_SYS(io_uring_register) };
    const unsigned long wx = PROT_WRITE | PROT_EXEC;
    int rc = 0;

    /* A ring opens files and sockets past this filter; libraries probe for it: ENOSYS. */
    for (size_t i = 0; i < ARRAY_COUNT(rings) && rc == 0; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), rings[i], 0);
    /* No memory that is both written and run; typing into a terminal that is not ours. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mmap), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, wx, wx));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mprotect), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, wx, wx));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI));
    return rc;
}
