#include "twin.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static sigjmp_buf back;

static void on_bus(int signal)
{
    siglongjmp(back, signal);
}

/* "ok", or the signal that touching the byte raised. */
static void touch(const char *label, volatile char *at, bool write)
{
    int got;

    signal(SIGBUS, on_bus);
    signal(SIGSEGV, on_bus);
    got = sigsetjmp(back, 1);
    if (got) {
        twin_line(label, "%s", got == SIGBUS ? "SIGBUS" : "SIGSEGV");
        return;
    }
    if (write)
        *at = 'w';
    twin_line(label, "%02x", (unsigned char)*at);
}

static void mmap_shared(void)
{
    char room[16] = { 0 };
    char *a, *b;
    int fd, other;

    twin_write_file("f", 20000, 1);
    fd = FD(open("f", O_RDWR));
    other = FD(open("f", O_RDWR));
    a = mmap(NULL, 20480, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    b = mmap(NULL, 20480, PROT_READ, MAP_SHARED, other, 0);
    memcpy(a + 5000, "through the map", 15);
    TRY(pread(other, room, 15, 5000));
    twin_line("seen by read", "%s", room);
    twin_line("seen by another map", "%d", memcmp(b + 5000, "through the map", 15));
    TRY(pwrite(other, "by write", 8, 100));
    twin_line("seen by the map", "%d", memcmp(a + 100, "by write", 8));
    twin_line("behind the end", "%d %d", a[20000], a[20479]);
    a[20100] = 'z'; /* in the last page, behind the end: never in the file */
    TRY(msync(a, 20480, MS_SYNC));
    TRY(msync(a, 20480, MS_ASYNC));
    TRY(msync(a, 20480, MS_SYNC | MS_ASYNC));
    TRY(ftruncate(fd, 20480));
    twin_digest("f");
    TRY(close(fd));
    memcpy(a + 9000, "after close", 11);
    TRY(munmap(a, 20480));
    TRY(munmap(b, 20480));
    twin_digest_fd("after all", other);
    TRY(close(other));
    twin_digest("f");
}

static void mmap_truncated(void)
{
    char *a;
    int fd;

    twin_write_file("f", 16384, 1);
    fd = FD(open("f", O_RDWR));
    a = mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    touch("inside", a + 10000, true);
    touch("behind the last page", a + 20000, false);
    TRY(ftruncate(fd, 5000));
    touch("cut away", a + 10000, false);
    touch("in the last page", a + 6000, false);
    TRY(ftruncate(fd, 16384));
    touch("stretched again", a + 10000, false);
    touch("zeros in the old last page", a + 6000, false);
    TRY(munmap(a, 32768));
    twin_digest("f");
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    a = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    touch("a hole", a + 1, false);
    touch("into a hole", a + 2, true);
    TRY(munmap(a, 16384));
    twin_digest("f");
    TRY(ftruncate(fd, 1 << 20));
    a = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (size_t at = 50000; at < 1 << 20; at += 70000)
        a[at] = 'h';
    TRY(munmap(a, 1 << 20));
    twin_digest("f");
}

static void mmap_private(void)
{
    char *a;
    int fd;

    twin_write_file("f", 8192, 1);
    fd = FD(open("f", O_RDONLY));
    a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    memcpy(a, "private", 7);
    TRY(munmap(a, 8192));
    twin_digest("f");
    TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1
                                                                                  : 0);
    a = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    TRY(mprotect(a, 4096, PROT_READ | PROT_WRITE));
    TRY(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED ? -1 : 0);
    TRY(close(fd));
    fd = FD(open("f", O_WRONLY));
    TRY(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    fd = FD(open(".", O_RDONLY | O_DIRECTORY));
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
}

static void mmap_unlinked(void)
{
    char *a;
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    TRY(ftruncate(fd, 100000));
    a = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TRY(unlink("f"));
    memset(a + 40000, 'u', 30000);
    TRY(msync(a, 100000, MS_SYNC));
    twin_digest_fd("unlinked", fd);
    TRY(close(fd));
    twin_line("still there", "%c", a[69999]);
    TRY(munmap(a, 100000));
}

/* Two processes see each other's stores at once. */
static void mmap_between_processes(void)
{
    volatile char *a;
    int status = 0;
    pid_t pid;
    int fd;

    twin_write_file("f", 4096, 1);
    fd = FD(open("f", O_RDWR));
    a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    a[0] = 0;
    a[1] = 0;
    pid = fork();
    if (pid == 0) {
        volatile char *b;

        b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open("f", O_RDWR), 0);
        for (int i = 0; i < 100; i++) {
            while (b[0] != i + 1)
                usleep(10);
            b[1] = (char)(i + 1);
        }
        _exit(0);
    }
    for (int i = 0; i < 100; i++) {
        a[0] = (char)(i + 1);
        while (a[1] != i + 1)
            usleep(10);
    }
    waitpid(pid, &status, 0);
    twin_line("a hundred turns", "%d", status);
    twin_line("text may not run", "%d", a[0]);
}

static void mmap_execute(void)
{
    int fd, out, status = 0;
    char room[65536];
    ssize_t n;
    pid_t pid;

    fd = FD(open("/bin/true", O_RDONLY));
    out = FD(open("prog", O_CREAT | O_WRONLY, 0755));
    while ((n = read(fd, room, sizeof room)) > 0) {
        if (write(out, room, (size_t)n) != n)
            twin_result("copy", -1, errno);
    }
    pid = fork();
    if (pid == 0) {
        execl("./prog", "prog", (char *)NULL);
        _exit(errno == ETXTBSY ? 26 : 1);
    }
    waitpid(pid, &status, 0);
    twin_line("run while open for writing", "%d", WEXITSTATUS(status));
    TRY(close(out));
    pid = fork();
    if (pid == 0) {
        execl("./prog", "prog", (char *)NULL);
        _exit(errno == EACCES ? 13 : 1);
    }
    waitpid(pid, &status, 0);
    twin_line("run", "%d", WEXITSTATUS(status));
    TRY(chmod("prog", 0644));
    pid = fork();
    if (pid == 0) {
        execl("./prog", "prog", (char *)NULL);
        _exit(errno == EACCES ? 13 : 1);
    }
    waitpid(pid, &status, 0);
    twin_line("run without x", "%d", WEXITSTATUS(status));
}

const struct twin_body twin_mmap_bodies[] = {
    { .name = "mmap_shared", .run = mmap_shared },
    { .name = "mmap_truncated", .run = mmap_truncated },
    { .name = "mmap_private", .run = mmap_private },
    { .name = "mmap_unlinked", .run = mmap_unlinked },
    { .name = "mmap_between_processes", .run = mmap_between_processes },
    { .name = "mmap_execute", .run = mmap_execute },
    { .name = NULL },
};
