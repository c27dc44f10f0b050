#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "crypto/selftest.h"

int phr_client_open(const char *config_path, struct phr_client **out_client,
                    char *out_why, size_t why_bytes)
{
    scoped(free) struct phr_client *c = calloc(1, sizeof *c);
    int rc;

    if (why_bytes > 0)
        out_why[0] = '\0';
    if (!c)
        return -ENOMEM;
    rc = secret_arena_open();
    if (rc == 0)
        rc = selftest_run();
    if (rc == 0)
        rc = selftest_run_people();
    if (rc == 0)
        rc = config_load(config_path, &c->config, out_why, why_bytes);
    if (rc < 0)
        return rc;
    *out_client = give(c);
    return 0;
}

void phr_client_close(struct phr_client *c)
{
    if (!c)
        return;
    caller_close(c->caller);
    free(c);
}

const char *phr_client_get_why(const struct phr_client *c)
{
    return c->why;
}

void phr_client_on_progress(struct phr_client *c,
                            void (*on_progress)(void *user, const char *step,
                                                uint64_t done, uint64_t all),
                            void *user)
{
    c->on_progress = on_progress;
    c->progress_user = user;
}

int client_fail(struct phr_client *c, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ignored(
        vsnprintf(c->why, sizeof c->why, format, args)); /* a cut sentence is still one */
    va_end(args);
    return rc;
}

int client_fail_plain(struct phr_client *c, int rc, const char *what)
{
    return client_fail(c, rc, "%s: %s", what, phr_err_text(rc));
}

void client_progress(struct phr_client *c, const char *step, uint64_t done, uint64_t all)
{
    if (c->on_progress)
        c->on_progress(c->progress_user, step, done, all);
}

static int connect_phrd(struct phr_client *c)
{
    char path[PATH_MAX];
    int rc;

    if (c->caller)
        return 0;
    rc = config_run_path(&c->config, "phrd.sock", path, sizeof path);
    if (rc == 0)
        rc = caller_open(path, IPC_ROLE_TOOL, &c->caller);
    if (rc < 0)
        return client_fail(
            c, rc, "phrd does not answer at %s; start it: systemctl start phrd", path);
    return 0;
}

int client_ask(struct phr_client *c, enum msg_type type, struct view payload, int fd,
               uint32_t timeout_ms, struct caller_reply *out_reply)
{
    int rc = connect_phrd(c);

    if (rc < 0)
        return rc;
    rc = caller_call(c->caller, type, payload, fd, timeout_ms, out_reply);
    if (rc == PHR_E_CLOSED || rc == PHR_E_SIDECAR || rc == PHR_E_TIMEOUT) {
        caller_close(c->caller); /* a late answer must not meet the next question */
        c->caller = NULL;
        return client_fail(c, rc, "phrd: %s", phr_err_text(rc));
    }
    return rc;
}

int client_get_host(struct phr_client *c, struct id16 *out_host)
{
    int rc = connect_phrd(c);

    if (rc < 0)
        return rc;
    *out_host = *caller_get_host(c->caller);
    return 0;
}

int client_open_dir(struct phr_client *c, const char *rel, int *out_fd)
{
    char path[PATH_MAX];
    int rc = config_home_path(&c->config, rel, path, sizeof path);

    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, path, out_fd);
    if (rc == -ENOENT)
        return client_fail(c, PHR_E_CONFIG,
                           "there is no realm at %s; make one with 'phr init'",
                           c->config.home);
    if (rc < 0)
        return client_fail_plain(c, rc, path);
    return 0;
}

static int load_bytes(struct phr_client *c, const char *rel, struct writer *out_bytes)
{
    scoped(free) uint8_t *bytes = NULL;
    scoped(close_fd) int dir = -1;
    size_t n = 0;
    int rc = client_open_dir(c, "realm", &dir);

    if (rc < 0)
        return rc;
    rc = fdio_load(dir, rel, CARD_BYTES_MAX, &bytes, &n);
    if (rc < 0)
        return rc;
    writer_bytes(out_bytes, bytes, n);
    return writer_ok(out_bytes) ? 0 : -ENOMEM;
}

int client_load_authority(struct phr_client *c, struct writer *out_bytes,
                          struct card *out_card)
{
    struct card card;
    int rc = load_bytes(c, "authority.card", out_bytes);

    if (rc == -ENOENT)
        return client_fail(c, PHR_E_CONFIG,
                           "there is no realm at %s; make one with 'phr init'",
                           c->config.home);
    if (rc == 0)
        rc = card_decode(writer_done(out_bytes), &card);
    if (rc == 0)
        rc = card_check(writer_done(out_bytes), &card.ed, out_card);
    if (rc == 0 && out_card->role != CARD_AUTHORITY)
        rc = PHR_E_CARD;
    return rc < 0 ? client_fail_plain(c, rc, "realm/authority.card") : 0;
}

int client_load_card(struct phr_client *c, const char *rel,
                     const struct verify_key *authority, struct writer *out_bytes,
                     struct card *out_card)
{
    int rc = load_bytes(c, rel, out_bytes);

    if (rc == -ENOENT)
        return rc; /* the caller knows what that means */
    if (rc == 0)
        rc = card_check(writer_done(out_bytes), authority, out_card);
    if (rc < 0)
        return client_fail(c, rc, "realm/%s: %s", rel, phr_err_text(rc));
    return 0;
}
