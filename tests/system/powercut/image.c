/* See image.h. Everything is in memory; a fault of the journal ends the program. */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"

enum { UNIT_PAGE = 4096, UNIT_SECTOR = 512, NAME_ROOM = 256, PATH_ROOM = 4096 };

struct bytes {
    uint8_t *p;
    size_t n;
    size_t room;
};
struct change { /* of a file, since its last sync */
    struct record r;
    const uint8_t *bytes;
};
struct node {
    enum record_type type; /* CREATE, MKDIR or SYMLINK */
    mode_t mode;
    char *target;
    struct bytes disk; /* as synced */
    struct change *changes;
    size_t change_count;
    size_t change_room;
};
struct entry {
    uint64_t dir;
    uint64_t child;
    char name[NAME_ROOM];
};
struct entries {
    struct entry *p;
    size_t n;
    size_t room;
};
struct name_change {
    enum record_type type;
    unsigned flags;
    struct entry from; /* the only one but for renames; child: made or removed */
    struct entry to;
};
struct images {
    const uint8_t *journal;
    size_t bytes;
    size_t at;
    uint64_t position;
    struct node *nodes; /* by id */
    size_t node_room;
    struct entries live; /* with every change */
    struct entries disk; /* with the synced ones */
    struct name_change *changes;
    size_t change_count;
    size_t change_room;
};

const char *const image_variant_names[IMAGE_VARIANTS] = { "drop",    "keep",  "sizes", "torn512",
                                                          "torn4k", "mixed", "files" };

static void die(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* Room for one more. */
static void *grow(void *p, size_t count, size_t *room, size_t each)
{
    if (count < *room)
        return p;
    *room = *room ? *room * 2 : 64;
    p = realloc(p, *room * each);
    if (!p)
        die("memory");
    return p;
}

static uint64_t step(uint64_t *rng)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng;
}

/* ---- the journal ---- */

struct images *images_open(const char *journal)
{
    struct images *s = calloc(1, sizeof *s);
    int fd = open(journal, O_RDONLY);
    struct stat st;

    if (!s || fd < 0 || fstat(fd, &st) < 0)
        die(journal);
    s->bytes = (size_t)st.st_size;
    s->journal = mmap(NULL, s->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (s->journal == MAP_FAILED)
        die("mmap");
    close(fd);
    return s;
}

uint64_t images_position(const struct images *s)
{
    return s->position;
}

static bool peek(const struct images *s, struct record *out, const uint8_t **out_first,
                 const uint8_t **out_second)
{
    if (s->at + sizeof *out > s->bytes)
        return false;
    memcpy(out, s->journal + s->at, sizeof *out);
    *out_first = s->journal + s->at + sizeof *out;
    *out_second = *out_first + out->first_bytes;
    return s->at + sizeof *out + out->first_bytes + out->second_bytes <= s->bytes;
}

static struct node *node_of(struct images *s, uint64_t id)
{
    while (id >= s->node_room) {
        size_t room = s->node_room ? s->node_room * 2 : 1024;
        struct node *p = realloc(s->nodes, room * sizeof *p);

        if (!p)
            die("memory");
        memset(p + s->node_room, 0, (room - s->node_room) * sizeof *p);
        s->nodes = p;
        s->node_room = room;
    }
    return &s->nodes[id];
}

/* ---- names ---- */

static struct entry *entry_find(const struct entries *e, uint64_t dir, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->p[i].dir == dir && strcmp(e->p[i].name, name) == 0)
            return &e->p[i];
    return NULL;
}

static void entry_put(struct entries *e, const struct entry *new)
{
    struct entry *old = entry_find(e, new->dir, new->name);

    if (old) {
        old->child = new->child;
        return;
    }
    e->p = grow(e->p, e->n, &e->room, sizeof *e->p);
    e->p[e->n++] = *new;
}

static void entry_remove(struct entries *e, const struct entry *old)
{
    struct entry *found = entry_find(e, old->dir, old->name);

    if (found)
        *found = e->p[--e->n];
}

static void names_apply(struct entries *e, const struct name_change *c)
{
    struct entry swapped = c->from;

    if (c->type != RECORD_UNLINK && c->type != RECORD_RENAME) {
        entry_put(e, &c->from);
        return;
    }
    entry_remove(e, &c->from);
    if (c->type == RECORD_UNLINK)
        return;
    if (c->flags & RENAME_EXCHANGE) {
        struct entry *other = entry_find(e, c->to.dir, c->to.name);

        swapped.child = other ? other->child : 0;
        entry_put(e, &swapped);
    }
    entry_put(e, &c->to);
}

/* Directory and last name of a path, as things are now. */
static struct entry resolve(const struct images *s, const uint8_t *p, size_t n)
{
    struct entry out = { .dir = RECORD_ROOT_ID };
    char path[PATH_ROOM];
    char *save = NULL;
    char *part;

    if (n >= sizeof path)
        die("path");
    memcpy(path, p, n);
    path[n] = '\0';
    for (part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (out.name[0]) {
            struct entry *e = entry_find(&s->live, out.dir, out.name);

            if (!e)
                die("a record of a path that was never made");
            out.dir = e->child;
        }
        snprintf(out.name, sizeof out.name, "%s", part);
    }
    part = out.name;
    out.child = 0;
    if (entry_find(&s->live, out.dir, part))
        out.child = entry_find(&s->live, out.dir, part)->child;
    return out;
}

static void note_names(struct images *s, const struct record *r, const uint8_t *first,
                       const uint8_t *second)
{
    struct name_change c = { .type = r->type, .flags = (unsigned)r->a };

    c.from = resolve(s, first, r->first_bytes);
    if (r->type == RECORD_RENAME) {
        c.to = resolve(s, second, r->second_bytes);
        c.to.child = c.from.child;
    } else if (r->type != RECORD_UNLINK) {
        c.from.child = r->id;
    }
    names_apply(&s->live, &c);
    s->changes = grow(s->changes, s->change_count, &s->change_room, sizeof *s->changes);
    s->changes[s->change_count++] = c;
}

static bool touches(const struct name_change *c, uint64_t dir)
{
    return c->from.dir == dir || (c->type == RECORD_RENAME && c->to.dir == dir);
}

/* Names of this directory are certain, and whatever they stand on in others. dir 0: all. */
static void sync_names(struct images *s, uint64_t dir)
{
    bool *is_wanted = calloc(s->change_count + 1, 1);
    size_t kept = 0;

    if (!is_wanted)
        die("memory");
    for (size_t i = s->change_count; i-- > 0;) {
        const struct name_change *c = &s->changes[i];

        is_wanted[i] = dir == 0 || touches(c, dir);
        for (size_t k = i + 1; !is_wanted[i] && k < s->change_count; k++)
            is_wanted[i] = is_wanted[k] && (touches(&s->changes[k], c->from.dir) ||
                                            (c->type == RECORD_RENAME &&
                                             touches(&s->changes[k], c->to.dir)));
    }
    for (size_t i = 0; i < s->change_count; i++) {
        if (is_wanted[i])
            names_apply(&s->disk, &s->changes[i]);
        else
            s->changes[kept++] = s->changes[i];
    }
    s->change_count = kept;
    free(is_wanted);
}

/* ---- bytes ---- */

static void bytes_size(struct bytes *b, size_t n)
{
    if (n > b->room) {
        b->room = n * 2;
        b->p = realloc(b->p, b->room);
        if (!b->p)
            die("memory");
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
}

static size_t change_end(const struct change *c, size_t size)
{
    size_t end = (size_t)(c->r.a + c->r.second_bytes);

    if (c->r.type == RECORD_TRUNCATE)
        return (size_t)c->r.a;
    return c->r.type == RECORD_WRITE && end > size ? end : size;
}

/* One change within [from, to), in a buffer that is large enough. */
static void change_apply(const struct change *c, uint8_t *p, size_t from, size_t to)
{
    size_t start = (size_t)c->r.a;
    size_t end = c->r.type == RECORD_WRITE  ? start + (size_t)c->r.second_bytes
                 : c->r.type == RECORD_ZERO ? start + (size_t)c->r.b
                                            : to; /* a cut: zeros from there on */
    size_t low = start > from ? start : from;
    size_t high = end < to ? end : to;

    if (low >= high)
        return;
    if (c->r.type == RECORD_WRITE)
        memcpy(p + low, c->bytes + (low - start), high - low);
    else
        memset(p + low, 0, high - low);
}

static void sync_bytes(struct node *n)
{
    for (size_t i = 0; i < n->change_count; i++) {
        const struct change *c = &n->changes[i];
        size_t end = change_end(c, n->disk.n);

        bytes_size(&n->disk, end);
        if (c->r.type != RECORD_TRUNCATE)
            change_apply(c, n->disk.p, 0, n->disk.n);
    }
    n->change_count = 0;
}

static void note_bytes(struct images *s, const struct record *r, const uint8_t *second)
{
    struct node *n = node_of(s, r->id);

    n->changes = grow(n->changes, n->change_count, &n->change_room, sizeof *n->changes);
    n->changes[n->change_count++] = (struct change){ *r, second };
}

bool images_step(struct images *s)
{
    const uint8_t *first;
    const uint8_t *second;
    struct record r;

    if (!peek(s, &r, &first, &second))
        return false;
    s->at += sizeof r + r.first_bytes + r.second_bytes;
    s->position++;
    switch (r.type) {
    case RECORD_CREATE:
    case RECORD_MKDIR:
    case RECORD_SYMLINK:
        *node_of(s, r.id) = (struct node){ .type = r.type, .mode = (mode_t)r.a };
        if (r.type == RECORD_SYMLINK)
            node_of(s, r.id)->target = strndup((const char *)second, r.second_bytes);
        note_names(s, &r, first, second);
        break;
    case RECORD_LINK:
    case RECORD_UNLINK:
    case RECORD_RENAME:
        note_names(s, &r, first, second);
        break;
    case RECORD_WRITE:
    case RECORD_TRUNCATE:
    case RECORD_ZERO:
        note_bytes(s, &r, second);
        break;
    case RECORD_MODE:
        node_of(s, r.id)->mode = (mode_t)r.a;
        break;
    case RECORD_SYNC:
        sync_bytes(node_of(s, r.id));
        break;
    case RECORD_SYNC_DIR:
        sync_names(s, r.id);
        break;
    case RECORD_SETTLE:
        sync_names(s, 0);
        for (size_t i = 0; i < s->node_room; i++)
            sync_bytes(&s->nodes[i]);
        break;
    default:
        die("a record of no known type");
    }
    return true;
}

/* ---- below a directory ---- */

static bool is_below(const struct images *s, uint64_t id, uint64_t top)
{
    for (int depth = 0; depth < 64 && id > RECORD_ROOT_ID; depth++) {
        uint64_t parent = 0;

        if (id == top)
            return true;
        for (size_t i = 0; i < s->live.n && !parent; i++)
            if (s->live.p[i].child == id)
                parent = s->live.p[i].dir;
        id = parent;
    }
    return false;
}

bool images_is_boundary(const struct images *s, const char *dir)
{
    const uint8_t *first;
    const uint8_t *second;
    struct entry *top = entry_find(&s->live, RECORD_ROOT_ID, dir + 1);
    struct record r;

    return top && peek(s, &r, &first, &second) &&
           (r.type == RECORD_SYNC || r.type == RECORD_SYNC_DIR) &&
           is_below(s, r.id, top->child);
}

size_t images_pending(const struct images *s, const char *dir)
{
    struct entry *top = entry_find(&s->live, RECORD_ROOT_ID, dir + 1);
    size_t n = 0;

    for (size_t i = 0; top && i < s->change_count; i++)
        n += is_below(s, s->changes[i].from.dir, top->child);
    for (size_t i = 0; top && i < s->node_room; i++)
        n += s->nodes[i].change_count > 0 && is_below(s, i, top->child)
                 ? s->nodes[i].change_count
                 : 0;
    return n;
}

/* ---- one image ---- */

/* Up to which change a unit counts; n: all. */
static size_t cut_of(enum image_variant variant, size_t n, size_t at, uint64_t *rng)
{
    switch (variant) {
    case IMAGE_DROP:
    case IMAGE_SIZES:
        return 0;
    case IMAGE_TORN_512:
    case IMAGE_TORN_4K:
        return at + (step(rng) >> 20) % 2;
    case IMAGE_MIXED: {
        uint64_t what = (step(rng) >> 20) % 4;

        return what < 2 ? what * n : (step(rng) >> 20) % (n + 1);
    }
    case IMAGE_FILES:
        return at ? n : 0;
    case IMAGE_KEEP:
    case IMAGE_VARIANTS:
        break;
    }
    return n;
}

static void build_bytes(const struct node *n, enum image_variant variant, uint64_t *rng,
                        struct bytes *out)
{
    size_t unit = variant == IMAGE_TORN_512 ? UNIT_SECTOR : UNIT_PAGE;
    size_t at = (step(rng) >> 20) % (variant == IMAGE_FILES ? 2 : n->change_count + 1);
    size_t end = n->disk.n;
    size_t size = n->disk.n;
    size_t size_cut = variant == IMAGE_SIZES ? n->change_count
                                             : cut_of(variant, n->change_count, at, rng);

    for (size_t i = 0; i < n->change_count; i++) {
        size = change_end(&n->changes[i], size);
        end = size > end ? size : end;
    }
    bytes_size(out, 0);
    bytes_size(out, end);
    if (n->disk.n)
        memcpy(out->p, n->disk.p, n->disk.n);
    for (size_t from = 0; n->change_count && from < end; from += unit) {
        size_t cut = cut_of(variant, n->change_count, at, rng);
        size_t to = end - from < unit ? end : from + unit;

        for (size_t i = 0; i < cut && i < n->change_count; i++)
            change_apply(&n->changes[i], out->p, from, to);
    }
    size = n->disk.n;
    for (size_t i = 0; i < size_cut && i < n->change_count; i++)
        size = change_end(&n->changes[i], size);
    bytes_size(out, size);
}

/* Of each directory's changes a prefix; what stands on a lost one is lost too. */
static void build_names(const struct images *s, enum image_variant variant, uint64_t *rng,
                        struct entries *out)
{
    uint64_t *lost = calloc(2 * s->change_count + 1, sizeof *lost);
    size_t lost_count = 0;

    if (!lost)
        die("memory");
    for (size_t i = 0; i < s->disk.n; i++)
        entry_put(out, &s->disk.p[i]);
    for (size_t i = 0; i < s->change_count; i++) {
        const struct name_change *c = &s->changes[i];
        bool is_lost = variant == IMAGE_DROP ||
                       (variant >= IMAGE_TORN_512 && variant != IMAGE_FILES &&
                        (step(rng) >> 20) % 8 == 0);

        for (size_t k = 0; k < lost_count; k++)
            is_lost = is_lost || touches(c, lost[k]);
        if (!is_lost) {
            names_apply(out, c);
            continue;
        }
        lost[lost_count++] = c->from.dir;
        lost[lost_count++] = c->type == RECORD_RENAME ? c->to.dir : c->from.dir;
    }
    free(lost);
}

static void write_file(const struct node *n, enum image_variant variant, uint64_t *rng,
                       const char *path)
{
    static struct bytes out;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, n->mode & 07777);

    if (fd < 0)
        die(path);
    build_bytes(n, variant, rng, &out);
    for (size_t at = 0; at < out.n;) {
        ssize_t put = write(fd, out.p + at, out.n - at);

        if (put <= 0)
            die(path);
        at += (size_t)put;
    }
    close(fd);
}

static void write_tree(struct images *s, const struct entries *names, uint64_t dir,
                       enum image_variant variant, uint64_t *rng, const char *path)
{
    for (size_t i = 0; i < names->n; i++) {
        const struct entry *e = &names->p[i];
        const struct node *n = node_of(s, e->child);
        char below[PATH_ROOM];

        if (e->dir != dir || strstr(e->name, "-shm"))
            continue; /* SQLite makes the -shm file anew from the WAL */
        if (snprintf(below, sizeof below, "%s/%s", path, e->name) >= (int)sizeof below)
            die("path");
        if (n->type == RECORD_CREATE) {
            write_file(n, variant, rng, below);
        } else if (n->type == RECORD_SYMLINK) {
            if (symlink(n->target, below) < 0)
                die(below);
        } else {
            if (mkdir(below, n->mode & 07777) < 0)
                die(below);
            write_tree(s, names, e->child, variant, rng, below);
        }
    }
}

void images_write(struct images *s, enum image_variant variant, uint64_t seed,
                  const char *const *tops, const char *target)
{
    uint64_t rng = (seed + 1) * 0x9e3779b97f4a7c15u;
    struct entries names = { 0 };

    build_names(s, variant, &rng, &names);
    for (size_t i = 0; i < names.n; i++) {
        bool is_wanted = names.p[i].dir != RECORD_ROOT_ID || !tops;

        for (const char *const *top = tops; !is_wanted && *top; top++)
            is_wanted = strcmp(names.p[i].name, *top) == 0;
        if (!is_wanted)
            names.p[i].dir = 0;
    }
    write_tree(s, &names, RECORD_ROOT_ID, variant, &rng, target);
    free(names.p);
}
