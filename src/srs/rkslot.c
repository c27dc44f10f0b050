#include "srs/rkslot.h"

#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/fdio.h"
#include "crypto/random.h"

static const char file_name[] = "rk.keys";
static const char magic[] = "PHRFS-K2";
enum { HEAD_BYTES = 32, SLOT_BYTES = 32, SLOTS_MAX = 1 << 20 };

struct rkslot_file {
    int fd;
    bool is_dirty;
    uint32_t slot_count; /* in the file */
    uint32_t hint;       /* no free slot below */
    uint8_t *used;       /* SLOTS_MAX bits */
};

static bool is_used(const struct rkslot_file *f, uint32_t slot)
{
    return f->used[slot / 8] >> (slot % 8) & 1;
}

static void set_used(struct rkslot_file *f, uint32_t slot, bool is_now)
{
    const uint8_t bit = (uint8_t)(1 << (slot % 8));

    f->used[slot / 8] =
        (uint8_t)(is_now ? f->used[slot / 8] | bit : f->used[slot / 8] & ~bit);
    if (!is_now && slot < f->hint)
        f->hint = slot;
}

static uint64_t place_of(uint32_t slot)
{
    return HEAD_BYTES + (uint64_t)slot * SLOT_BYTES;
}

int rkslot_make(int dir_fd)
{
    uint8_t head[HEAD_BYTES] = { 0 };

    if (faccessat(dir_fd, file_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    memcpy(head, magic, sizeof magic - 1);
    return fdio_save(dir_fd, file_name, view_of(head, sizeof head), 0600);
}

static int check_file(struct rkslot_file *f)
{
    uint8_t head[HEAD_BYTES];
    struct stat st;
    int rc = fdio_pread_all(f->fd, head, sizeof head, 0);

    if (rc < 0)
        return rc == -ENODATA ? PHR_E_FORMAT : rc;
    if (memcmp(head, magic, sizeof magic - 1) != 0)
        return PHR_E_FORMAT;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return PHR_E_RIGHTS;
    if ((uint64_t)st.st_size > place_of(SLOTS_MAX))
        return PHR_E_FORMAT;
    f->slot_count =
        (uint32_t)(((uint64_t)st.st_size - HEAD_BYTES + SLOT_BYTES - 1) / SLOT_BYTES);
    return 0;
}

int rkslot_open(int dir_fd, struct rkslot_file **out_file)
{
    scoped(rkslot_close) struct rkslot_file *f = calloc(1, sizeof *f);
    int rc;

    if (!f)
        return -ENOMEM;
    f->fd = -1;
    f->used = calloc(SLOTS_MAX / 8, 1);
    if (!f->used)
        return -ENOMEM;
    rc = fdio_open(dir_fd, file_name, O_RDWR, 0, &f->fd);
    if (rc == 0)
        rc = check_file(f);
    if (rc < 0)
        return rc;
    *out_file = give(f);
    return 0;
}

void rkslot_close(struct rkslot_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->used);
    free(f);
}

void rkslot_mark_used(struct rkslot_file *f, uint32_t slot)
{
    if (slot < SLOTS_MAX)
        set_used(f, slot, true);
}

int rkslot_sweep(struct rkslot_file *f)
{
    static const uint8_t none[SLOT_BYTES];
    uint8_t bytes[SLOT_BYTES];
    int rc = 0;

    for (uint32_t slot = 0; slot < f->slot_count && rc == 0; slot++) {
        if (is_used(f, slot))
            continue;
        rc = fdio_pread_all(f->fd, bytes, sizeof bytes, place_of(slot));
        if (rc == -ENODATA || (rc == 0 && memcmp(bytes, none, sizeof none) != 0))
            rc = rkslot_shred(f, slot);
    }
    return rc;
}

int rkslot_take(struct rkslot_file *f, uint32_t *out_slot, struct symkey *out_key)
{
    uint32_t slot = f->hint;
    int rc;

    while (slot < SLOTS_MAX && is_used(f, slot))
        slot++;
    if (slot == SLOTS_MAX)
        return PHR_E_LIMIT;
    random_fill(out_key->b, sizeof out_key->b);
    rc = fdio_pwrite_all(f->fd, out_key->b, sizeof out_key->b, place_of(slot));
    if (rc < 0)
        return rc;
    set_used(f, slot, true);
    f->hint = slot + 1;
    if (slot >= f->slot_count)
        f->slot_count = slot + 1;
    f->is_dirty = true;
    *out_slot = slot;
    return 0;
}

int rkslot_load(const struct rkslot_file *f, uint32_t slot, struct symkey *out_key)
{
    int rc;

    if (slot >= f->slot_count)
        return PHR_E_SEAL;
    rc = fdio_pread_all(f->fd, out_key->b, sizeof out_key->b, place_of(slot));
    return rc == -ENODATA ? PHR_E_SEAL : rc;
}

int rkslot_sync(struct rkslot_file *f)
{
    if (!f->is_dirty)
        return 0;
    if (fdatasync(f->fd) < 0)
        return -errno;
    f->is_dirty = false;
    return 0;
}

void rkslot_give_back(struct rkslot_file *f, uint32_t slot)
{
    set_used(f, slot, false);
}

int rkslot_shred(struct rkslot_file *f, uint32_t slot)
{
    int rc = fdio_shred(f->fd, place_of(slot), SLOT_BYTES);

    if (rc == 0)
        set_used(f, slot, false);
    return rc;
}
