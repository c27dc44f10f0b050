#include "client/child.h"

#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/checked.h"
#include "base/cursor.h"

extern char **environ;

enum { CHILD_ENV_MAX = 256 };

static void find_program(const char *name, char *out, size_t n)
{
    char self[PATH_MAX];
    ssize_t got = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;
    int len;

    if (got > 0) {
        self[got] = '\0';
        slash = strrchr(self, '/');
        if (slash) {
            slash[1] = '\0';
            len = snprintf(out, n, "%s%s", self, name);
            if (len > 0 && (size_t)len < n && access(out, X_OK) == 0)
                return;
        }
    }
    ignored(snprintf(out, n, "%s", name)); /* as $PATH says */
}

/* Ours first; then whatever stands in the environment, except what ours replace. */
struct child_env {
    char config[PATH_MAX + 16];
    char home[PATH_MAX + 16];
    char run[PATH_MAX + 16];
    char *list[CHILD_ENV_MAX + 4];
};

static int env_fill(struct child_env *e, const struct config *config)
{
    size_t n = 0;

    ignored(snprintf(e->config, sizeof e->config, "PHR_CONFIG=%s", config->path));
    ignored(snprintf(e->home, sizeof e->home, "PHR_HOME=%s", config->home));
    ignored(snprintf(e->run, sizeof e->run, "PHR_RUN=%s", config->run));
    if (access(config->path, R_OK) == 0)
        e->list[n++] = e->config;
    e->list[n++] = e->home;
    e->list[n++] = e->run;
    for (char **p = environ; p && *p; p++) {
        if (strncmp(*p, "PHR_CONFIG=", 11) == 0 || strncmp(*p, "PHR_HOME=", 9) == 0 ||
            strncmp(*p, "PHR_RUN=", 8) == 0)
            continue;
        if (n >= CHILD_ENV_MAX)
            return PHR_E_LIMIT;
        e->list[n++] = *p;
    }
    e->list[n] = NULL;
    return 0;
}

/* stdout_fd: -1, or what the child's standard output becomes. */
static int start(struct phr_client *c, const char *name, const char *const *args,
                 int stdout_fd, pid_t *out_pid)
{
    scoped(free) struct child_env *env = calloc(1, sizeof *env);
    posix_spawn_file_actions_t files;
    char path[PATH_MAX];
    char *argv[CHILD_ARGS_MAX + 2];
    size_t n = 0;
    int rc = env ? env_fill(env, &c->config) : -ENOMEM;

    if (rc < 0)
        return rc;
    find_program(name, path, sizeof path);
    argv[n++] = path;
    for (; args && *args; args++) {
        INVARIANT(n <= CHILD_ARGS_MAX);
        argv[n++] = (char *)(uintptr_t)*args; /* posix_spawn does not write there */
    }
    argv[n] = NULL;
    if (posix_spawn_file_actions_init(&files) != 0)
        return -ENOMEM;
    rc = stdout_fd >= 0
             ? posix_spawn_file_actions_adddup2(&files, stdout_fd, STDOUT_FILENO)
             : 0;
    if (rc == 0)
        rc = posix_spawnp(out_pid, path, &files, NULL, argv, env->list);
    posix_spawn_file_actions_destroy(&files);
    if (rc != 0)
        return client_fail(
            c, -rc, "%s cannot be started (%s); it belongs next to phr or into $PATH",
            name, strerror(rc));
    return 0;
}

static int wait_for(struct phr_client *c, const char *name, pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return client_fail(c, PHR_E_SIDECAR,
                           "%s failed with status %d; what it said stands above", name,
                           WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 0;
}

int child_run(struct phr_client *c, const char *name, const char *const *args)
{
    pid_t pid = -1;
    int rc = start(c, name, args, -1, &pid);

    return rc < 0 ? rc : wait_for(c, name, pid);
}

/* Up to the end of the pipe; beyond the limit the rest is read and thrown away, so the child ends. */
static int read_all(int fd, struct writer *out)
{
    uint8_t part[4096];

    for (;;) {
        ssize_t got = read(fd, part, sizeof part);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return out->n > CHILD_OUTPUT_BYTES_MAX ? PHR_E_LIMIT : 0;
        if (out->n <= CHILD_OUTPUT_BYTES_MAX)
            writer_bytes(out, part, (size_t)got);
    }
}

int child_capture(struct phr_client *c, const char *name, const char *const *args,
                  char **out_text)
{
    scoped(writer_fini) struct writer text;
    scoped(close_fd) int read_end = -1;
    scoped(close_fd) int write_end = -1;
    pid_t pid = -1;
    int ends[2];
    int waited;
    int rc;
    size_t n;

    writer_init(&text);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    read_end = ends[0];
    write_end = ends[1];
    rc = start(c, name, args, write_end, &pid);
    if (rc < 0)
        return rc;
    close(give_fd(write_end));
    rc = read_all(read_end, &text);
    waited = wait_for(c, name, pid);
    writer_u8(&text, 0);
    if (rc == 0)
        rc = waited;
    if (rc < 0)
        return rc;
    *out_text = (char *)writer_take(&text, &n);
    return *out_text ? 0 : -ENOMEM;
}
