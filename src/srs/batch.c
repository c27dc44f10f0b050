#include "srs/batch.h"

#include <stdlib.h>
#include <string.h>

#include "srs/srs_inside.h"

struct batch_mark batch_start(const struct srs *s)
{
    return (struct batch_mark){ .tree = s->log.tree,
                                .entry_count = s->batch.entry_count,
                                .taken_count = s->batch.taken.count,
                                .to_shred_count = s->batch.to_shred.count };
}

int batch_mark(struct srs *s, struct batch_mark *out_mark)
{
    *out_mark = batch_start(s);
    return srs_db_mark(s->db);
}

int batch_keep(struct srs *s)
{
    return srs_db_keep(s->db);
}

static void undo_lists(struct srs *s, const struct batch_mark *mark)
{
    struct batch *b = &s->batch;

    s->log.tree = mark->tree;
    while (b->entry_count > mark->entry_count)
        free(b->entries[--b->entry_count].bytes);
    while (b->taken.count > mark->taken_count)
        rkslot_give_back(s->slots, b->taken.p[--b->taken.count]);
    b->to_shred.count = mark->to_shred_count;
}

int batch_undo(struct srs *s, const struct batch_mark *mark)
{
    undo_lists(s, mark);
    return srs_db_undo(s->db);
}

void batch_undo_all(struct srs *s, const struct batch_mark *start)
{
    undo_lists(s, start);
    free(s->batch.note);
    s->batch.note = NULL;
}

int batch_add_entry(struct srs *s, const struct id16 *patient, uint64_t seq,
                    struct view bytes)
{
    struct batch *b = &s->batch;
    uint8_t *copy;

    if (b->entry_count == b->entry_room) {
        const size_t room = b->entry_room ? b->entry_room * 2 : 16;
        struct batch_entry *bigger = reallocarray(b->entries, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        b->entries = bigger;
        b->entry_room = room;
    }
    copy = malloc(bytes.n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes.p, bytes.n);
    b->entries[b->entry_count++] = (struct batch_entry){ *patient, seq, copy, bytes.n };
    return 0;
}

static int add_slot(struct batch_slots *list, uint32_t slot)
{
    if (list->count == list->room) {
        const size_t room = list->room ? list->room * 2 : 16;
        uint32_t *bigger = reallocarray(list->p, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        list->p = bigger;
        list->room = room;
    }
    list->p[list->count++] = slot;
    return 0;
}

int batch_add_taken(struct srs *s, uint32_t slot)
{
    return add_slot(&s->batch.taken, slot);
}

int batch_add_to_shred(struct srs *s, uint32_t slot)
{
    return add_slot(&s->batch.to_shred, slot);
}

int batch_set_note(struct srs *s, uint64_t size, struct view note)
{
    uint8_t *copy = malloc(note.n);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, note.p, note.n);
    free(s->batch.note);
    s->batch.note = copy;
    s->batch.note_bytes = note.n;
    s->batch.note_size = size;
    return 0;
}

/* A slot that cannot be overwritten is tried again with each batch, and at the next start. */
void batch_shred(struct srs *s)
{
    struct batch_slots *list = &s->batch.to_shred;
    size_t left = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (rkslot_shred(s->slots, list->p[i]) < 0)
            list->p[left++] = list->p[i];
    }
    list->count = left;
    s->batch.taken.count = 0;
    atomic_store(&s->counters.unshredded, left);
}

struct batch batch_take_news(struct srs *s)
{
    struct batch news = { .entries = s->batch.entries,
                          .entry_count = s->batch.entry_count,
                          .note = s->batch.note,
                          .note_bytes = s->batch.note_bytes,
                          .note_size = s->batch.note_size };

    s->batch.entries = NULL;
    s->batch.entry_count = 0;
    s->batch.entry_room = 0;
    s->batch.note = NULL;
    return news;
}

void batch_fini(struct batch *b)
{
    for (size_t i = 0; i < b->entry_count; i++)
        free(b->entries[i].bytes);
    free(b->entries);
    free(b->taken.p);
    free(b->to_shred.p);
    free(b->note);
    *b = (struct batch){ 0 };
}
