#include "fuzz.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
    return (unsigned)(draw(state) % n);
}

#define PICK(state, list) (list)[below(state, sizeof(list) / sizeof(list)[0])]

static const struct {
    const char *name;
    unsigned weight;
} kinds[] = {
#define X(name, weight) { #name, weight },
    FUZZ_KINDS(X)
#undef X
};

const char *fuzz_kind_name(enum fuzz_kind kind)
{
    return kinds[kind].name;
}

bool fuzz_is_event(enum fuzz_kind kind)
{
    return kind >= FUZZ_COMPARE;
}

static enum fuzz_kind pick_kind(uint64_t *state)
{
    unsigned sum = 0;
    unsigned at;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        sum += kinds[i].weight;
    at = below(state, sum);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (at < kinds[i].weight)
            return (enum fuzz_kind)i;
        at -= kinds[i].weight;
    }
    return FUZZ_STAT;
}

/* Few names, so that operations meet; names of directories are mostly directories. */
static void pick_path(uint64_t *state, char *out)
{
    static const char *const dirs[] = { "",    "",       "d0/",    "d0/",
                                        "d1/", "d0/d2/", "d1/d3/", "d1/d3/d2/" };
    static const char *const names[] = { "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7",
                                         "f0", "f1", "d0", "d1", "d2", "d3", "l0", "l1" };
    size_t n;

    strcpy(out, PICK(state, dirs));
    if (below(state, 40) == 0) {
        n = strlen(out);
        memset(out + n, below(state, 2) ? 'n' : 0xfe, 255);
        out[n + 255] = '\0';
    } else {
        strcat(out, PICK(state, names));
    }
}

static void pick_dir(uint64_t *state, char *out)
{
    static const char *const dirs[] = { "d0",       "d1", "d0/d2", "d1/d3",
                                        "d1/d3/d2", "d2", "f0",    "d0/f1" };

    strcpy(out, PICK(state, dirs));
}

static int64_t pick_offset(uint64_t *state)
{
    switch (below(state, 20)) {
    case 0:
    case 1:
        return 4096 * (int64_t)below(state, 40);
    case 2:
        return (4 << 20) - 20000 + (int64_t)below(state, 40000);
    case 3:
    case 4:
    case 5:
        return 0;
    default:
        return below(state, 100000);
    }
}

static int64_t pick_length(uint64_t *state)
{
    switch (below(state, 8)) {
    case 0:
        return 4096 * (int64_t)below(state, 9);
    case 1:
        return below(state, FUZZ_IO_BYTES);
    case 2:
        return 1;
    default:
        return below(state, 9000);
    }
}

static int pick_open_flags(uint64_t *state)
{
    static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR };
    static const int rare[] = {
        O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_SYNC, O_DSYNC, O_DIRECT
    };
    int flags = O_NONBLOCK | PICK(state, access);

    if (below(state, 3) > 0)
        flags |= O_CREAT;
    if (below(state, 8) == 0)
        flags |= O_TRUNC;
    if (below(state, 6) == 0)
        flags |= O_APPEND;
    if (below(state, 5) == 0)
        flags |= PICK(state, rare);
    if (flags & O_CREAT) /* together: EINVAL in newer kernels, a file in older */
        flags &= ~O_DIRECTORY;
    if (flags & O_APPEND) /* ext4 would refuse ends that are not aligned */
        flags &= ~O_DIRECT;
    return flags;
}

static enum fuzz_kind event_of(uint64_t seed, uint64_t turn)
{
    static const enum fuzz_kind turns[] = { FUZZ_COMPARE, FUZZ_KILL, FUZZ_COMPARE,
                                            FUZZ_REMOUNT, FUZZ_DROP, FUZZ_KILL };

    return turns[(turn + seed) % (sizeof turns / sizeof turns[0])];
}

void fuzz_make_op(uint64_t seed, uint64_t number, uint64_t every, struct fuzz_op *out_op)
{
    static const unsigned modes[] = { 0755,  0755,  0777,  0777,  0644, 0666, 0600,
                                      06777, 02775, 01777, 04711, 0444, 0 };
    static const unsigned masks[] = { 022, 022, 0, 077, 027 };
    uint64_t state = number;

    memset(out_op, 0, sizeof *out_op);
    state = draw(&state) ^
            seed * 0x2545f4914f6cdd1dULL; /* neighbours have nothing in common */
    draw(&state);
    out_op->id = number;
    if (every && number % every == every - 1) {
        out_op->kind = event_of(seed, number / every);
        return;
    }
    out_op->kind = pick_kind(&state);
    out_op->worker = below(&state, FUZZ_WORKERS);
    out_op->slot = below(&state, FUZZ_SLOTS);
    out_op->slot2 = below(&state, FUZZ_SLOTS);
    out_op->off = pick_offset(&state);
    out_op->off2 = pick_offset(&state);
    out_op->len = pick_length(&state);
    out_op->mode = out_op->kind == FUZZ_UMASK ? PICK(&state, masks) : PICK(&state, modes);
    out_op->flags =
        out_op->kind == FUZZ_OPEN ? pick_open_flags(&state) : (int)below(&state, 1 << 16);
    if (out_op->kind == FUZZ_MKDIR || out_op->kind == FUZZ_RMDIR ||
        out_op->kind == FUZZ_READDIR)
        pick_dir(&state, out_op->path);
    else
        pick_path(&state, out_op->path);
    if (out_op->kind == FUZZ_RENAME && below(&state, 3) == 0) {
        pick_dir(&state, out_op->path);
        pick_dir(&state, out_op->path2);
    } else {
        pick_path(&state, out_op->path2);
    }
}

static const char *short_path(const char *path)
{
    static char room[2][FUZZ_PATH_BYTES];
    static int turn;
    char *to = room[turn ^= 1];
    const char *last = strrchr(path, '/');
    const char *name = last ? last + 1 : path;

    if (strlen(name) < 255)
        return path;
    snprintf(to, sizeof room[0], "%.*s%c*255", (int)(name - path), path,
             name[0] == 'n' ? 'n' : 'x');
    return to;
}

void fuzz_print_op(const struct fuzz_op *op)
{
    if (fuzz_is_event(op->kind)) {
        printf("%6" PRIu64 " %s\n", op->id, fuzz_kind_name(op->kind));
        return;
    }
    printf("%6" PRIu64 " w%u %-11s slot %u/%u %s", op->id, op->worker,
           fuzz_kind_name(op->kind), op->slot, op->slot2, short_path(op->path));
    printf(" -> %s flags %#o mode %04o off %" PRId64 "/%" PRId64 " len %" PRId64 "\n",
           short_path(op->path2), (unsigned)op->flags, op->mode, op->off, op->off2,
           op->len);
}
