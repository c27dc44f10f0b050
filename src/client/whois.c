#include "client/whois.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"

enum { KEYRING_HEAD_BYTES = 8 + 16 };

struct known {
    struct id16 id;
    char name[WHOIS_NAME_BYTES];
};

struct whois {
    const struct phr_identity *viewer;
    struct known *list;
    size_t count;
    size_t room;
};

static int add(struct whois *w, const struct id16 *id, const char *name)
{
    if (w->count == w->room) {
        size_t room = w->room ? w->room * 2 : 64;
        struct known *bigger = reallocarray(w->list, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        w->list = bigger;
        w->room = room;
    }
    w->list[w->count].id = *id;
    ignored(snprintf(w->list[w->count].name, WHOIS_NAME_BYTES, "%s",
                     name)); /* cut is still a name */
    w->count++;
    return 0;
}

static int on_card(void *user, const struct phr_identity_info *info)
{
    struct id16 id;

    if (!info->label[0] || hex_decode(info->user, id.b, sizeof id.b) < 0)
        return 0;
    return add(user, &id, info->label);
}

/* The head of a keyring file says whose it is, in clear; its name is what people type. */
static int add_keyring(struct whois *w, int dir, const char *file)
{
    scoped(close_fd) int fd = -1;
    uint8_t head[KEYRING_HEAD_BYTES];
    char name[WHOIS_NAME_BYTES];
    struct id16 id;
    size_t n = strlen(file) - strlen(".keyring");

    if (n >= sizeof name || fdio_open(dir, file, O_RDONLY, 0, &fd) < 0 ||
        fdio_pread_all(fd, head, sizeof head, 0) < 0 || memcmp(head, "PHRFS-Y1", 8) != 0)
        return 0; /* another user's, or none */
    memcpy(id.b, head + 8, sizeof id.b);
    memcpy(name, file, n);
    name[n] = '\0';
    return add(w, &id, name);
}

static int is_keyring(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return n > 8 && e->d_name[0] != '.' && strcmp(e->d_name + n - 8, ".keyring") == 0;
}

static int add_keyrings(struct phr_client *c, struct whois *w)
{
    scoped(close_fd) int dir = -1;
    struct dirent **names = NULL;
    char path[PATH_MAX];
    int count;
    int rc = config_home_path(&c->config, "keys", path, sizeof path);

    if (rc < 0 || fdio_open_dir(AT_FDCWD, path, &dir) < 0)
        return rc;
    count = scandir(path, &names, is_keyring, alphasort);
    for (int k = 0; k < count; k++) {
        if (rc == 0)
            rc = add_keyring(w, dir, names[k]->d_name);
        free(names[k]);
    }
    free(names);
    return rc;
}

int whois_new(struct phr_client *c, const struct phr_identity *viewer,
              struct whois **out_whois)
{
    scoped(whois_free) struct whois *w = calloc(1, sizeof *w);
    int rc = w ? phr_identity_each(c, on_card, w) : -ENOMEM;

    if (rc == 0)
        rc = add_keyrings(c, w);
    if (rc < 0)
        return rc;
    w->viewer = viewer;
    *out_whois = give(w);
    return 0;
}

void whois_free(struct whois *w)
{
    if (!w)
        return;
    free(w->list);
    free(w);
}

static const char *find_name(const struct whois *w, const struct id16 *patient,
                             const struct id16 *class_id)
{
    const struct keyring *ring = w->viewer ? w->viewer->ring : NULL;

    for (size_t i = 0; ring && i < ring->name_count; i++) {
        if (id_equal(&ring->names[i].patient, patient) &&
            id_equal(&ring->names[i].class_id, class_id))
            return ring->names[i].name;
    }
    return NULL;
}

static void put(const char *name, const struct id16 *id, char out[WHOIS_NAME_BYTES])
{
    out[0] = '\0';
    if (name)
        ignored(snprintf(out, WHOIS_NAME_BYTES, "%s", name));
    else if (!id_is_zero(id))
        hex_encode(id->b, sizeof id->b, out);
}

void whois_user(const struct whois *w, const struct id16 *user,
                char out[WHOIS_NAME_BYTES])
{
    static const struct id16 none;

    for (size_t i = 0; i < w->count; i++) {
        if (id_equal(&w->list[i].id, user)) {
            put(w->list[i].name, user, out);
            return;
        }
    }
    put(find_name(w, user, &none), user, out);
}

void whois_class(const struct whois *w, const struct id16 *patient,
                 const struct id16 *class_id, char out[WHOIS_NAME_BYTES])
{
    put(id_is_zero(class_id) ? NULL : find_name(w, patient, class_id), class_id, out);
}
