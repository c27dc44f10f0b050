/* How answers look: JSON or lines. A command fills one json_t and says how it reads as text. */
#ifndef PHR_TOOLS_PHR_OUTPUT_H
#define PHR_TOOLS_PHR_OUTPUT_H

#include <jansson.h>

#include "args.h"

/* Prints and takes the value. -ENOMEM for NULL: json_* functions return it when memory is gone. */
int output_json(json_t *take) PHR_MUST_CHECK;
/* Something was printed as JSON already: a failure then adds only its sentence and status. */
bool output_is_json_printed(void);
/* {"done": true, …pairs} as JSON, else the sentence. Takes pairs, which may be NULL. */
int output_done(const struct args *a, json_t *take, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "2026-01-31 14:25:01 UTC", or "never" for 0; static storage, one thread. */
const char *output_time(uint64_t s);
/* The patient's id of PATIENT or PATIENT/COMPARTMENT; compartment is NULL or borrows. PHR_E_USAGE. */
struct output_place {
    char patient[256];
    const char *compartment;
};
int output_place(const char *word, struct output_place *out) PHR_MUST_CHECK;
/* Shows long work on a terminal. */
void output_progress(void *user, const char *step, uint64_t done, uint64_t all);
void output_progress_end(void);

#endif
