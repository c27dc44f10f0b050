/*
 * Little-endian fields, one statement at a time. A reader stays failed after its first short
 * read and is checked once, at the end. A writer grows by itself and stays failed after the
 * first allocation that does not work.
 */
#ifndef PHR_BASE_CURSOR_H
#define PHR_BASE_CURSOR_H

#include "phr/types.h"

struct reader {
    const uint8_t *p;
    size_t left;
    bool failed;
};

struct reader reader_over(struct view bytes);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* Copies n bytes; zero-fills out on failure. */
void reader_bytes(struct reader *r, void *out, size_t n);
/* Borrows n bytes of the input; {NULL, 0} on failure. */
struct view reader_view(struct reader *r, size_t n);
/* LE32 length and that many bytes, at most max; borrows. */
struct view reader_lp(struct reader *r, size_t max);
/* Fails unless the next bytes are exactly this ASCII text. */
void reader_expect(struct reader *r, const char *magic);
bool reader_ok(const struct reader *r);
/* True when nothing failed and nothing is left over. */
bool reader_done(const struct reader *r);

struct writer {
    uint8_t *p;
    size_t n;
    size_t room;
    bool failed;
    bool fixed; /* room belongs to the caller and does not grow */
};

void writer_init(struct writer *w);
/* Writes into the caller's room and fails when it is full. */
void writer_init_fixed(struct writer *w, struct span room);
void writer_fini(struct writer *w); /* frees; safe after writer_take */
void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_u64(struct writer *w, uint64_t v);
void writer_bytes(struct writer *w, const void *p, size_t n);
void writer_view(struct writer *w, struct view v);
void writer_lp(struct writer *w, struct view v);
void writer_text(struct writer *w, const char *ascii); /* without the NUL */
void writer_zeros(struct writer *w, size_t n);
/* Overwrites a field written before. */
void writer_patch_u32(struct writer *w, size_t at, uint32_t v);
bool writer_ok(const struct writer *w);
struct view writer_done(const struct writer *w); /* borrowed until the next write */
/* The bytes now belong to the caller (free); NULL when failed. */
uint8_t *writer_take(struct writer *w, size_t *out_n);

static inline void writer_fini_scope(struct writer *w)
{
    writer_fini(w);
}

static inline struct view view_of(const void *p, size_t n)
{
    return (struct view){ (const uint8_t *)p, n };
}

struct view view_text(const char *ascii);
bool view_equal(struct view a, struct view b); /* public bytes only */

/* Unaligned little-endian numbers in public bytes. */
void put_le16(uint8_t *p, uint16_t v);
void put_le32(uint8_t *p, uint32_t v);
void put_le64(uint8_t *p, uint64_t v);
uint32_t get_le32(const uint8_t *p);
uint64_t get_le64(const uint8_t *p);

#endif
