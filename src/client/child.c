#include "client/child.h"

#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/checked.h"

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

static int start(struct phr_client *c, const char *name, const char *const *args, pid_t *out_pid)
{
    scoped(free) struct child_env *env = calloc(1, sizeof *env);
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
    rc = posix_spawnp(out_pid, path, NULL, NULL, argv, env->list);
    if (rc != 0)
        return client_fail(c, -rc, "%s cannot be started (%s); it belongs next to phr or into $PATH",
                           name, strerror(rc));
    return 0;
}

int child_run(struct phr_client *c, const char *name, const char *const *args)
{
    pid_t pid = -1;
    int status = 0;
    int rc = start(c, name, args, &pid);

    if (rc < 0)
        return rc;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return client_fail(c, PHR_E_SIDECAR, "%s failed with status %d; what it said stands above", name,
                           WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 0;
}
