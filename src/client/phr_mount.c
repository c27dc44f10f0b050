/*
 * Mounts and phrd as a person sees them. Each phrfs has one control socket in the run
 * directory; which directory it serves is what it answers to MSG_MOUNT_STATUS.
 */
#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/secret.h"
#include "client/child.h"
#include "client/client.h"
#include "format/grant.h"

enum {
    STATUS_TIMEOUT_MS = 5 * 1000,
    LOGIN_TIMEOUT_MS = 30 * 1000,
    CHECK_TIMEOUT_MS = 24 * 60 * 60 * 1000
};

static int ask_socket(const char *path, enum msg_type type, struct view payload,
                      uint32_t timeout_ms, struct caller_reply *out_reply)
{
    scoped(caller_close) struct caller *caller = NULL;
    int rc = caller_open(path, IPC_ROLE_NONE, &caller);

    return rc < 0 ? rc : caller_call(caller, type, payload, -1, timeout_ms, out_reply);
}

static int dup_text(const struct caller_reply *reply, char **out)
{
    char *text = malloc(reply->n + 1);

    if (!text)
        return -ENOMEM;
    if (reply->n)
        memcpy(text, reply->bytes, reply->n);
    text[reply->n] = '\0';
    *out = text;
    return 0;
}

/* The directory that this mount serves, from its status; "" when it does not say. */
static void dir_of(const struct caller_reply *reply, char *out, size_t n)
{
    json_t *root = json_loadb((const char *)reply->bytes, reply->n, 0, NULL);
    const json_t *dir = json_object_get(root, "dir");

    ignored(snprintf(out, n, "%s", json_is_string(dir) ? json_string_value(dir) : ""));
    json_decref(root);
}

static int is_control(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return n > 4 && strcmp(e->d_name + n - 4, ".ctl") == 0;
}

int phr_mount_each(struct phr_client *c,
                   int (*on_mount)(void *user, const char *dir, const char *socket_path),
                   void *user)
{
    struct dirent **names = NULL;
    int count = scandir(c->config.run, &names, is_control, alphasort);
    int rc = 0;

    for (int k = 0; k < count; k++) {
        scoped(caller_reply_fini) struct caller_reply reply = { 0 };
        char path[PATH_MAX];
        char dir[PATH_MAX];

        if (rc == 0 &&
            config_run_path(&c->config, names[k]->d_name, path, sizeof path) == 0 &&
            ask_socket(path, MSG_MOUNT_STATUS, (struct view){ 0 }, STATUS_TIMEOUT_MS,
                       &reply) == 0) {
            dir_of(&reply, dir, sizeof dir);
            rc = on_mount(user, dir, path);
        }
        free(names[k]);
    }
    free(names);
    return rc;
}

struct search {
    const char *dir;
    char socket_path[PATH_MAX];
    unsigned count;
};

static int on_candidate(void *user, const char *dir, const char *socket_path)
{
    struct search *s = user;

    if (s->dir && strcmp(s->dir, dir) != 0)
        return 0;
    s->count++;
    ignored(snprintf(s->socket_path, sizeof s->socket_path, "%s",
                     socket_path)); /* same room */
    return 0;
}

static int find_mount(struct phr_client *c, const char *dir, char out[PATH_MAX])
{
    scoped(free) struct search *s = calloc(1, sizeof *s);
    char absolute[PATH_MAX];
    int rc;

    c->why[0] = '\0';
    if (!s)
        return -ENOMEM;
    s->dir = dir && realpath(dir, absolute) ? absolute : dir;
    rc = phr_mount_each(c, on_candidate, s);
    if (rc < 0)
        return rc;
    if (s->count == 0)
        return client_fail(
            c, -ENOENT, "%s%sno phrfs is mounted that this user may ask; see 'phr mount'",
            dir ? dir : "", dir ? ": " : "");
    if (s->count > 1)
        return client_fail(c, PHR_E_USAGE,
                           "there are several mounts; name one with --mount DIR");
    memcpy(out, s->socket_path, PATH_MAX);
    return 0;
}

static int ask_mount(struct phr_client *c, const char *dir, enum msg_type type,
                     struct view payload, uint32_t timeout_ms,
                     struct caller_reply *out_reply)
{
    char path[PATH_MAX];
    int rc = find_mount(c, dir, path);

    if (rc == 0)
        rc = ask_socket(path, type, payload, timeout_ms, out_reply);
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, "the mount") : rc;
}

int phr_mount_dup_status(struct phr_client *c, const char *dir, char **out_json)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    int rc = ask_mount(c, dir, MSG_MOUNT_STATUS, (struct view){ 0 }, STATUS_TIMEOUT_MS,
                       &reply);

    return rc < 0 ? rc : dup_text(&reply, out_json);
}

int phr_mount_sync(struct phr_client *c, const char *dir, uint32_t timeout_ms,
                   struct phr_backlog *out_left)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    uint8_t ask[4];
    struct reader in;
    struct phr_backlog left;
    int rc;

    put_le32(ask, timeout_ms);
    rc = ask_mount(c, dir, MSG_MOUNT_SYNC, view_of(ask, sizeof ask),
                   timeout_ms + LOGIN_TIMEOUT_MS, &reply);
    if (rc < 0)
        return rc;
    in = reader_over(view_of(reply.bytes, reply.n));
    left.ops = reader_u32(&in);
    left.unsealed = reader_u32(&in);
    left.objects = reader_u32(&in);
    left.parked = reader_u32(&in);
    if (!reader_done(&in))
        return client_fail_plain(c, PHR_E_PROTOCOL, "the mount");
    *out_left = left;
    return 0;
}

/* How far a check is: the first members of its answer (vault.h). */
static bool check_is_finished(struct phr_client *c, const char *json)
{
    unsigned long long done = 0;
    unsigned long long all = 0;
    char word[8] = "";

    if (sscanf(json, "{\"finished\":%7[a-z],\"done\":%llu,\"all\":%llu", word, &done, &all) == 3)
        client_progress(c, "checking", done, all);
    return strcmp(word, "false") != 0;
}

/* Step by step: the mount keeps how far it came, so a command that ends is no loss. */
static int check_steps(struct phr_client *c, const char *dir, uint8_t flags, char **out_json)
{
    char *json = NULL;
    int rc;

    do {
        scoped(caller_reply_fini) struct caller_reply reply = { 0 };

        free(json);
        json = NULL;
        rc = ask_mount(c, dir, MSG_MOUNT_CHECK, view_of(&flags, 1), CHECK_TIMEOUT_MS, &reply);
        if (rc == 0)
            rc = dup_text(&reply, &json);
        flags &= (uint8_t)~CHECK_NEW;
    } while (rc == 0 && !check_is_finished(c, json));
    if (rc < 0)
        return rc;
    *out_json = json;
    return 0;
}

int phr_mount_dup_check(struct phr_client *c, const char *dir, enum phr_check flags,
                        char **out_json)
{
    static const char *const args[] = { "--check", NULL };
    uint8_t ask = (uint8_t)(((flags & PHR_CHECK_NEW) ? CHECK_NEW : 0) |
                            ((flags & PHR_CHECK_REPAIR) ? CHECK_REPAIR : 0));
    int rc = check_steps(c, dir, ask, out_json);

    if (rc != -ENOENT || dir || (flags & PHR_CHECK_REPAIR))
        return rc;
    c->why[0] = '\0';
    return child_capture(c, "phrfs", args, out_json); /* nothing is mounted: without keys */
}

int phr_mount_login(struct phr_client *c, const char *dir,
                    const struct phr_identity *identity, const char *purpose)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(secret_free) uint8_t *body = NULL;
    scoped(secret_free) uint8_t *ask = NULL;
    enum purpose p = PURPOSE_TREAT;
    size_t n = 0;
    int rc;

    c->why[0] = '\0';
    if (!identity->ring->is_approved)
        return client_fail(
            c, PHR_E_CARD,
            "the card of %s is not approved yet; 'phr identity approve %s'",
            identity->card.label, identity->card.label);
    if (purpose && purpose_parse(purpose, &p) < 0)
        return client_fail(c, PHR_E_USAGE, "'%s' is not a purpose of use", purpose);
    rc = keyring_body_encode(identity->ring, &body, &n);
    if (rc < 0)
        return client_fail_plain(c, rc, "keyring");
    ask = secret_alloc(2 + 4 + n);
    if (!ask)
        return client_fail_plain(c, -ENOMEM, "keyring");
    put_le16(ask, (uint16_t)p);
    put_le32(ask + 2, (uint32_t)n);
    memcpy(ask + 6, body, n);
    return ask_mount(c, dir, MSG_LOGIN, view_of(ask, 6 + n), LOGIN_TIMEOUT_MS, &reply);
}

int phr_mount_logout(struct phr_client *c, const char *dir, uint32_t *out_unsealed)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    int rc = ask_mount(c, dir, MSG_LOGOUT, (struct view){ 0 }, LOGIN_TIMEOUT_MS, &reply);

    if (rc < 0)
        return rc;
    if (reply.n != 4)
        return client_fail_plain(c, PHR_E_PROTOCOL, "the mount");
    *out_unsealed = get_le32(reply.bytes);
    return 0;
}

/* ---- phrd ---- */

int phr_sidecar_dup_status(struct phr_client *c, char **out_json)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    int rc;

    c->why[0] = '\0';
    rc = client_ask(c, MSG_STATUS, (struct view){ 0 }, -1, STATUS_TIMEOUT_MS, &reply);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "phrd");
    return dup_text(&reply, out_json);
}

int phr_sidecar_retry(struct phr_client *c, uint32_t *out_count)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    int rc;

    c->why[0] = '\0';
    rc = client_ask(c, MSG_STORE_RETRY, (struct view){ 0 }, -1, CLIENT_CALL_TIMEOUT_MS,
                    &reply);
    if (rc == 0 && reply.n != 4)
        rc = PHR_E_PROTOCOL;
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "phrd");
    *out_count = get_le32(reply.bytes);
    return 0;
}

/* ---- mount and umount ---- */

static bool is_phrd_there(const struct phr_client *c)
{
    scoped(caller_close) struct caller *caller = NULL;
    char path[PATH_MAX];

    return config_run_path(&c->config, "phrd.sock", path, sizeof path) == 0 &&
           caller_open(path, IPC_ROLE_NONE, &caller) == 0;
}

/* phrd returns when it serves, and lives on. */
static int start_phrd(struct phr_client *c)
{
    scoped(close_fd) int run = -1;
    int rc;

    if (is_phrd_there(c))
        return 0;
    rc = fdio_make_dir(c->config.run, 0755, &run);
    return rc < 0 ? client_fail_plain(c, rc, c->config.run) : child_run(c, "phrd", NULL);
}

int phr_mount_start(struct phr_client *c, const char *dir, const char *options)
{
    const char *const plain[] = { "phr", dir, NULL };
    const char *const with[] = { "phr", dir, "-o", options, NULL };
    struct stat st;
    int rc;

    c->why[0] = '\0';
    if (stat(dir, &st) < 0)
        return client_fail(c, -errno, "%s: %s; make it first: mkdir -p %s", dir,
                           strerror(errno), dir);
    if (!S_ISDIR(st.st_mode))
        return client_fail_plain(c, -ENOTDIR, dir);
    rc = start_phrd(c);
    return rc < 0 ? rc : child_run(c, "phrfs", options ? with : plain);
}

int phr_mount_stop(struct phr_client *c, const char *dir)
{
    const char *const as_root[] = { dir, NULL };
    const char *const as_user[] = { "-u", dir, NULL };

    c->why[0] = '\0';
    return geteuid() == 0 ? child_run(c, "umount", as_root)
                          : child_run(c, "fusermount3", as_user);
}
