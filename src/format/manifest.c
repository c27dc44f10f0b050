#include "format/manifest.h"

#include <stdlib.h>

#include "base/checked.h"
#include "base/scope.h"
#include "format/manifest_test.h"

/* A file of FILE_BYTES_MAX has 2^22 segments, so no tree is higher than this. */
enum { TREE_LEVELS = 64 };

/* Roots of the perfect subtrees to the left, highest first; their sizes are count's bits. */
struct tree {
    struct digest roots[TREE_LEVELS];
    size_t depth;
    uint64_t count;
};

struct digest strip_id(const uint8_t salt[SALT_BYTES], struct view strip)
{
    struct digest_stream *s = digest_stream_new();

    INVARIANT(s != NULL);
    digest_stream_add(s, view_of(salt, SALT_BYTES));
    digest_stream_add(s, strip);
    return digest_stream_finish(s);
}

void manifest_encode(const struct manifest_entry *entries, size_t count,
                     struct writer *out)
{
    for (size_t i = 0; i < count; i++) {
        writer_u64(out, entries[i].seg_index);
        writer_u32(out, entries[i].plaintext_len);
        writer_u32(out, entries[i].fk_gen);
        writer_bytes(out, entries[i].object_id.b, sizeof entries[i].object_id.b);
        writer_bytes(out, entries[i].strip_id.b, sizeof entries[i].strip_id.b);
    }
}

static bool entry_read(struct reader *r, struct manifest_entry *out_entry)
{
    out_entry->seg_index = reader_u64(r);
    out_entry->plaintext_len = reader_u32(r);
    out_entry->fk_gen = reader_u32(r);
    reader_bytes(r, out_entry->object_id.b, sizeof out_entry->object_id.b);
    reader_bytes(r, out_entry->strip_id.b, sizeof out_entry->strip_id.b);
    return reader_ok(r) && out_entry->seg_index < FILE_BYTES_MAX / SEG_BYTES &&
           out_entry->plaintext_len >= 1 && out_entry->plaintext_len <= SEG_BYTES;
}

int manifest_decode(struct view bytes, struct manifest_entry **out_entries,
                    size_t *out_count)
{
    scoped(free) struct manifest_entry *entries = NULL;
    size_t count = bytes.n / MANIFEST_ENTRY_BYTES;
    struct reader r = reader_over(bytes);

    if (bytes.n % MANIFEST_ENTRY_BYTES != 0 || count > FILE_BYTES_MAX / SEG_BYTES)
        return PHR_E_FORMAT;
    entries = calloc(count ? count : 1, sizeof *entries);
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!entry_read(&r, &entries[i]) ||
            (i > 0 && entries[i].seg_index <= entries[i - 1].seg_index))
            return PHR_E_FORMAT;
    }
    *out_entries = give(entries);
    *out_count = count;
    return 0;
}

static struct digest node(const struct digest *left, const struct digest *right)
{
    return digest_sha256_prefixed(0x01, view_of(left->b, sizeof left->b),
                                  view_of(right->b, sizeof right->b));
}

static void tree_add(struct tree *t, struct view leaf)
{
    struct digest h = digest_sha256_prefixed(0x00, leaf, view_of(NULL, 0));

    for (uint64_t bits = t->count; bits & 1; bits >>= 1) {
        t->depth--;
        h = node(&t->roots[t->depth], &h);
    }
    INVARIANT(t->depth < TREE_LEVELS);
    t->roots[t->depth] = h;
    t->depth++;
    t->count++;
}

static struct digest tree_root(const struct tree *t)
{
    struct digest h;

    if (t->depth == 0)
        return digest_sha256(view_of(NULL, 0));
    h = t->roots[t->depth - 1];
    for (size_t i = t->depth - 1; i > 0; i--)
        h = node(&t->roots[i - 1], &h);
    return h;
}

struct digest manifest_mth(const struct view *leaves, size_t count)
{
    struct tree t = { 0 };

    for (size_t i = 0; i < count; i++)
        tree_add(&t, leaves[i]);
    return tree_root(&t);
}

struct digest manifest_root(struct view manifest)
{
    struct tree t = { 0 };

    INVARIANT(manifest.n % MANIFEST_ENTRY_BYTES == 0);
    for (size_t at = 0; at < manifest.n; at += MANIFEST_ENTRY_BYTES)
        tree_add(&t, view_of(manifest.p + at, MANIFEST_ENTRY_BYTES));
    return tree_root(&t);
}
