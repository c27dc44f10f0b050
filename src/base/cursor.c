#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

struct reader reader_over(struct view bytes)
{
    return (struct reader){ .p = bytes.p, .left = bytes.n, .failed = false };
}

struct view reader_view(struct reader *r, size_t n)
{
    struct view out = { NULL, 0 };

    if (r->failed || n > r->left) {
        r->failed = true;
        return out;
    }
    out.p = r->p;
    out.n = n;
    if (n > 0) { /* an empty view may have no address to step from */
        r->p += n;
        r->left -= n;
    }
    return out;
}

void reader_bytes(struct reader *r, void *out, size_t n)
{
    struct view v = reader_view(r, n);

    if (v.n == n && n > 0)
        memcpy(out, v.p, n);
    else
        memset(out, 0, n);
}

static uint64_t number(struct reader *r, size_t bytes)
{
    struct view v = reader_view(r, bytes);
    uint64_t out = 0;

    for (size_t i = v.n; i > 0; i--)
        out = (out << 8) | v.p[i - 1];
    return out;
}

uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)number(r, 1);
}

uint16_t reader_u16(struct reader *r)
{
    return (uint16_t)number(r, 2);
}

uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)number(r, 4);
}

uint64_t reader_u64(struct reader *r)
{
    return number(r, 8);
}

struct view reader_lp(struct reader *r, size_t max)
{
    uint32_t n = reader_u32(r);

    if (n > max)
        r->failed = true;
    return reader_view(r, n);
}

void reader_expect(struct reader *r, const char *magic)
{
    struct view v = reader_view(r, strlen(magic));

    if (!r->failed && memcmp(v.p, magic, v.n) != 0)
        r->failed = true;
}

bool reader_ok(const struct reader *r)
{
    return !r->failed;
}

bool reader_done(const struct reader *r)
{
    return !r->failed && r->left == 0;
}

void writer_init(struct writer *w)
{
    *w = (struct writer){ 0 };
}

void writer_init_fixed(struct writer *w, struct span room)
{
    *w = (struct writer){ .p = room.p, .room = room.n, .fixed = true };
}

void writer_fini(struct writer *w)
{
    if (!w->fixed)
        free(w->p);
    *w = (struct writer){ 0 };
}

static uint8_t *grow(struct writer *w, size_t n)
{
    size_t need;
    size_t room;
    uint8_t *p;

    if (w->failed || !checked_add(w->n, n, &need)) {
        w->failed = true;
        return NULL;
    }
    if (need > w->room) {
        room = w->room ? w->room : 256;
        while (room < need && room <= SIZE_MAX / 2)
            room *= 2;
        p = (w->fixed || room < need) ? NULL : realloc(w->p, room);
        if (!p) {
            w->failed = true;
            return NULL;
        }
        w->p = p;
        w->room = room;
    }
    p = w->p + w->n;
    w->n = need;
    return p;
}

void writer_bytes(struct writer *w, const void *p, size_t n)
{
    uint8_t *to;

    if (n == 0)
        return;
    to = grow(w, n);
    if (to)
        memcpy(to, p, n);
}

void writer_zeros(struct writer *w, size_t n)
{
    uint8_t *to;

    if (n == 0)
        return;
    to = grow(w, n);
    if (to)
        memset(to, 0, n);
}

void writer_u8(struct writer *w, uint8_t v)
{
    writer_bytes(w, &v, 1);
}

void writer_u16(struct writer *w, uint16_t v)
{
    uint8_t b[2];

    put_le16(b, v);
    writer_bytes(w, b, sizeof b);
}

void writer_u32(struct writer *w, uint32_t v)
{
    uint8_t b[4];

    put_le32(b, v);
    writer_bytes(w, b, sizeof b);
}

void writer_u64(struct writer *w, uint64_t v)
{
    uint8_t b[8];

    put_le64(b, v);
    writer_bytes(w, b, sizeof b);
}

void writer_view(struct writer *w, struct view v)
{
    writer_bytes(w, v.p, v.n);
}

void writer_lp(struct writer *w, struct view v)
{
    if (v.n > UINT32_MAX) {
        w->failed = true;
        return;
    }
    writer_u32(w, (uint32_t)v.n);
    writer_view(w, v);
}

void writer_text(struct writer *w, const char *ascii)
{
    writer_bytes(w, ascii, strlen(ascii));
}

void writer_patch_u32(struct writer *w, size_t at, uint32_t v)
{
    if (w->failed)
        return;
    INVARIANT(at + 4 <= w->n);
    put_le32(w->p + at, v);
}

bool writer_ok(const struct writer *w)
{
    return !w->failed;
}

struct view writer_done(const struct writer *w)
{
    return w->failed ? (struct view){ NULL, 0 } : (struct view){ w->p, w->n };
}

uint8_t *writer_take(struct writer *w, size_t *out_n)
{
    uint8_t *p = NULL;

    if (!w->failed && !w->fixed) {
        p = w->p ? w->p : malloc(1); /* an empty result is still a result */
        *out_n = w->n;
        *w = (struct writer){ 0 };
    }
    return p;
}

struct view view_text(const char *ascii)
{
    return (struct view){ (const uint8_t *)ascii, strlen(ascii) };
}

bool view_equal(struct view a, struct view b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void put_le32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void put_le64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t get_le64(const uint8_t *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
