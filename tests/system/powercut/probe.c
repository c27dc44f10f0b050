/*
 * Every file is opened and read block by block through the vault's own calls, so what is told
 * is what a program on the mount would get. Nothing here waits for a network: there is none.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"
#include "vault/file.h"
#include "vault/node.h"

enum { READ_BYTES = 1 << 20, BLOCK = 4096, MADE_BYTES = 300000, NAMES_MAX = 4096, PATH_ROOM = 1024 };

struct probe {
    struct vault *v;
    struct who who;
    struct config config;
    struct writer files;
    struct writer dirs;
    struct writer errors;
    uint8_t *room;
    char (*paths)[PATH_ROOM]; /* of files */
    size_t path_count;
};

struct names {
    struct probe *p;
    char (*names)[256];
    size_t count;
};

static bool on_entry(void *user, const struct dir_entry *e)
{
    struct names *n = user;

    if (n->count == NAMES_MAX)
        return false;
    if ((e->name.n == 1 && e->name.p[0] == '.') || (e->name.n == 2 && memcmp(e->name.p, "..", 2) == 0))
        return true;
    memcpy(n->names[n->count], e->name.p, e->name.n);
    n->names[n->count++][e->name.n] = '\0';
    return true;
}

/* Names here are the workload's: nothing in them needs escaping. */
static void add_text(struct writer *w, const char *before, const char *text, const char *after)
{
    if (w->n > 0)
        writer_text(w, ", ");
    writer_text(w, before);
    writer_text(w, text);
    writer_text(w, after);
}

static void add_error(struct probe *p, const char *what, const char *path, int rc)
{
    char text[PATH_ROOM + 128];

    snprintf(text, sizeof text, "%s %s: %s", what, path, phr_err_name(rc));
    add_text(&p->errors, "\"", text, "\"");
}

static void on_wake(struct waiter *w, int rc)
{
    (void)w;
    (void)rc;
}

static void probe_file(struct probe *p, uint64_t nodeid, const char *path)
{
    struct waiter w = { .wake = on_wake };
    struct node_attr attr;
    struct file *f = NULL;
    uint64_t at = 0;
    size_t n = 0;
    bool keep;
    int rc = file_open(p->v, &p->who, nodeid, O_RDONLY, &w, &f, &keep);

    if (rc < 0) {
        add_error(p, "open", path, rc);
        return;
    }
    rc = node_getattr(p->v, &p->who, nodeid, &attr);
    if (rc < 0)
        add_error(p, "stat", path, rc);
    add_text(&p->files, "\"", path, "\": [");
    do {
        char size[32];

        rc = file_read(f, at, (struct span){ p->room, READ_BYTES }, &w, &n);
        if (rc < 0) {
            add_error(p, "read", path, rc);
            break;
        }
        if (at == 0) {
            snprintf(size, sizeof size, "%lld, \"", (long long)attr.st.st_size);
            writer_text(&p->files, size);
        }
        for (size_t i = 0; i < n; i += BLOCK) {
            struct digest d = digest_sha256(view_of(p->room + i, n - i < BLOCK ? n - i : BLOCK));
            char hex[17];

            hex_encode(d.b, 8, hex);
            writer_text(&p->files, hex);
        }
        at += n;
    } while (n == READ_BYTES);
    writer_text(&p->files, rc < 0 && at == 0 ? "-1, \"\"]" : "\"]");
    if (rc == 0 && at != (uint64_t)attr.st.st_size)
        add_error(p, "size", path, -EIO);
    file_release(f);
}

static void probe_dir(struct probe *p, uint64_t nodeid, const char *path, bool is_read)
{
    struct names n = { .p = p, .names = calloc(NAMES_MAX, 256) };
    struct dir *d = NULL;
    int rc = n.names ? node_opendir(p->v, &p->who, nodeid, &d) : -ENOMEM;

    if (rc == 0) {
        rc = node_readdir(d, &p->who, 0, false, on_entry, &n);
        node_releasedir(d);
    }
    if (rc < 0)
        add_error(p, "list", path, rc);
    for (size_t i = 0; i < n.count; i++) {
        char below[PATH_ROOM];
        struct node_attr attr;

        if (snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", n.names[i]) >=
            (int)sizeof below)
            continue;
        rc = node_lookup(p->v, &p->who, nodeid, view_text(n.names[i]), &attr);
        if (rc < 0) {
            add_error(p, "lookup", below, rc);
        } else if (S_ISDIR(attr.st.st_mode)) {
            if (is_read)
                add_text(&p->dirs, "\"", below, "\"");
            probe_dir(p, attr.nodeid, below, is_read);
        } else if (is_read) {
            probe_file(p, attr.nodeid, below);
        } else if (p->path_count < NAMES_MAX) {
            memcpy(p->paths[p->path_count++], below, sizeof below);
        }
    }
    free(n.names);
}

static int probe_open(struct probe *p, const struct probe_opts *opts)
{
    struct vault_opts v = { .config = &p->config, .ownership = VAULT_OWNERSHIP_STORED };
    struct keyring *k = NULL;
    struct id16 user;
    int rc = vault_open(&v, &p->v);

    if (rc < 0)
        return rc;
    rc = keyring_body_decode(opts->keyring, &k);
    return rc < 0 ? rc : vault_login(p->v, 0, k, PURPOSE_TREAT, &user);
}

static int parent_of(struct probe *p, const char *path, uint64_t *out_nodeid, const char **out_name)
{
    struct node_attr attr = { .nodeid = VAULT_ROOT_NODE };
    const char *slash;

    while ((slash = strchr(path, '/'))) {
        int rc = node_lookup(p->v, &p->who, attr.nodeid,
                             view_of((const uint8_t *)path, (size_t)(slash - path)), &attr);

        if (rc < 0)
            return rc;
        path = slash + 1;
    }
    *out_nodeid = attr.nodeid;
    *out_name = path;
    return 0;
}

/* A new file, synced: its bytes are known by their one letter. */
static int make_file(struct probe *p, const char *path)
{
    struct node_attr attr;
    struct file *f = NULL;
    const char *name;
    uint64_t parent;
    int rc = parent_of(p, path, &parent, &name);

    if (rc == 0)
        rc = node_create(p->v, &p->who, parent, view_text(name), 0644, O_RDWR, &attr, &f);
    if (rc < 0)
        return rc;
    memset(p->room, 'm', MADE_BYTES);
    rc = file_write(f, 0, view_of(p->room, MADE_BYTES), NULL);
    if (rc == 0)
        rc = file_fsync(f, false);
    file_release(f);
    return rc;
}

/* Life goes on before anything of the past was looked at: a new file, one that goes, a new start. */
static int go_on(struct probe *p, const struct probe_opts *opts, struct writer *out)
{
    static const char made[] = "alice/labs/after-the-cut";
    const char *victim = NULL;
    bool is_made;
    char text[2 * PATH_ROOM + 64];
    const char *name;
    uint64_t parent;
    int rc;

    p->paths = calloc(NAMES_MAX, PATH_ROOM);
    if (!p->paths)
        return -ENOMEM;
    probe_dir(p, VAULT_ROOT_NODE, "", false);
    rc = make_file(p, made);
    is_made = rc == 0;
    if (rc < 0 && rc != -ENOENT) /* the cut came before the vault knew the patient's folders */
        add_error(p, "make", made, rc);
    if (p->path_count > 0) {
        victim = p->paths[opts->seed % p->path_count];
        rc = parent_of(p, victim, &parent, &name);
        if (rc == 0)
            rc = node_unlink(p->v, &p->who, parent, view_text(name));
        if (rc < 0)
            add_error(p, "unlink", victim, rc);
    }
    snprintf(text, sizeof text, "\"made\": \"%s\", \"unlinked\": \"%s\", ", is_made ? made : "",
             victim ? victim : "");
    writer_text(out, text);
    free(p->paths);
    vault_close(p->v);
    p->v = NULL;
    return probe_open(p, opts);
}

static void put_result(struct probe *p, const char *check, struct writer *out)
{
    writer_text(out, "\"files\": {");
    writer_view(out, view_of(p->files.p, p->files.n));
    writer_text(out, "}, \"dirs\": [");
    writer_view(out, view_of(p->dirs.p, p->dirs.n));
    writer_text(out, "], \"errors\": [");
    writer_view(out, view_of(p->errors.p, p->errors.n));
    writer_text(out, "], \"check\": ");
    writer_text(out, check ? check : "null");
}

int probe_vault(const struct probe_opts *opts, struct writer *out)
{
    struct probe p = { .who = { .pid = getpid(), .umask = 022 } };
    char *check = NULL;
    int rc;

    snprintf(p.config.home, sizeof p.config.home, "%s", opts->home);
    snprintf(p.config.run, sizeof p.config.run, "%s", opts->home); /* nobody listens there */
    snprintf(p.config.audit, sizeof p.config.audit, "spool");
    p.config.lease_s = 300;
    p.config.seal_delay_ms = 600000;
    p.config.temp_age_ms = 600000;
    writer_init(&p.files);
    writer_init(&p.dirs);
    writer_init(&p.errors);
    p.room = malloc(READ_BYTES);
    rc = p.room ? probe_open(&p, opts) : -ENOMEM;
    if (rc == 0 && opts->goes_on_first)
        rc = go_on(&p, opts, out);
    if (rc < 0)
        return rc;
    probe_dir(&p, VAULT_ROOT_NODE, "", true);
    rc = vault_check(p.v, &check);
    if (rc < 0)
        add_error(&p, "check", "vault", rc);
    put_result(&p, check, out);
    free(check);
    free(p.room);
    return 0; /* the vault stays open: the next power cut */
}
