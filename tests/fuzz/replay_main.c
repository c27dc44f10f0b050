/*
 * The plain main of a fuzz target: replays each file of the corpus directory, then a few
 * thousand mutations of them from a fixed seed, so that a run is the same everywhere. A crash
 * that a fuzzer finds becomes a file in the corpus and is replayed for ever.
 *   fuzz_X DIR [ROUNDS]
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum {
    INPUT_BYTES_MAX = 256 * 1024,
    FILES_MAX = 256,
    ROUNDS = 3000,
    INSERT_BYTES_MAX = 64
};

struct input {
    uint8_t *p;
    size_t n;
};

static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t random_below(size_t n)
{
    return n > 0 ? (size_t)(random_next() % n) : 0;
}

/* The target sees a block of exactly n bytes, so that sanitizers catch one byte too far. */
static void run(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);

    INVARIANT(exact != NULL);
    if (n > 0)
        memcpy(exact, p, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static size_t mutate_once(uint8_t *p, size_t n)
{
    static const uint8_t edges[] = { 0, 1, 2, 0x7f, 0x80, 0xfe, 0xff };
    size_t at = random_below(n);
    size_t len = 1 + random_below(INSERT_BYTES_MAX);

    switch (random_below(6)) {
    case 0: /* flip a bit */
        if (n > 0)
            p[at] ^= (uint8_t)(1u << random_below(8));
        return n;
    case 1: /* a telling value */
        if (n > 0)
            p[at] = edges[random_below(sizeof edges)];
        return n;
    case 2: /* a telling 32-bit number */
        if (n >= 4)
            put_le32(p + random_below(n - 3), (uint32_t)(UINT32_MAX - random_below(4)));
        return n;
    case 3: /* cut */
        return at;
    case 4: /* insert */
        if (n + len > INPUT_BYTES_MAX)
            return n;
        memmove(p + at + len, p + at, n - at);
        for (size_t i = 0; i < len; i++)
            p[at + i] = (uint8_t)random_next();
        return n + len;
    default: /* take out */
        len = len < n - at ? len : n - at;
        memmove(p + at, p + at + len, n - at - len);
        return n - len;
    }
}

static void mutate_and_run(const struct input *in, uint8_t *room)
{
    size_t n = in->n;
    size_t times = 1 + random_below(3);

    if (n > 0)
        memcpy(room, in->p, n);
    for (size_t i = 0; i < times; i++)
        n = mutate_once(room, n);
    run(room, n);
}

static int input_load(const char *dir, const char *name, struct input *out_input)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (!f)
        return -errno;
    out_input->p = malloc(INPUT_BYTES_MAX);
    INVARIANT(out_input->p != NULL);
    out_input->n = fread(out_input->p, 1, INPUT_BYTES_MAX, f);
    return fclose(f) != 0 ? -EIO : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

int main(int argc, char *argv[])
{
    struct input inputs[FILES_MAX];
    struct dirent **names = NULL;
    uint8_t *room = malloc(INPUT_BYTES_MAX);
    size_t rounds = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : ROUNDS;
    int found = argc > 1 ? scandir(argv[1], &names, is_input, by_name) : -1;

    INVARIANT(room != NULL);
    if (found < 1 || found > FILES_MAX) {
        fprintf(stderr, "usage: %s CORPUS_DIR [ROUNDS]; it must hold 1..%d files\n",
                argv[0], FILES_MAX);
        return 2;
    }
    for (int i = 0; i < found; i++) {
        if (input_load(argv[1], names[i]->d_name, &inputs[i]) < 0)
            return 2;
        run(inputs[i].p, inputs[i].n);
        free(names[i]);
    }
    free(names);
    for (size_t i = 0; i < rounds; i++)
        mutate_and_run(&inputs[random_below((size_t)found)], room);
    for (int i = 0; i < found; i++)
        free(inputs[i].p);
    free(room);
    printf("%d files, %zu mutations\n", found, rounds);
    return 0;
}
