/*
 * A ledger_state in memory. Alone it holds a ledger (tests, tools); laid over another state it
 * shows that state with changes on top, which are thrown away with it: verify_op's scratch paper.
 *
 * One thread. A failed put leaves it in between: throw it away then.
 */
#ifndef PHR_LEDGER_STATE_MEMORY_H
#define PHR_LEDGER_STATE_MEMORY_H

#include "base/scope.h"
#include "ledger/state.h"

struct state_memory;

int state_memory_new(struct state_memory **out_memory) PHR_MUST_CHECK;
/*
 * Over base, which must outlive it and not change meanwhile. Its find_write_grant knows nothing of
 * revocations on top, and its put_epoch_rows does nothing: within one op neither is asked for.
 */
int state_memory_new_over(const struct ledger_state *base,
                          struct state_memory **out_memory) PHR_MUST_CHECK;
void state_memory_free(struct state_memory *m); /* NULL is fine */
/* Borrowed until state_memory_free. */
const struct ledger_state *state_memory_get_state(const struct state_memory *m);

/*
 * How epoch changes read their object: *out_p is taken (free). Without a loader, and whenever it
 * answers so, they are PHR_E_PENDING; PHR_E_SEAL when it hands out something else.
 */
void state_memory_set_loader(struct state_memory *m,
                             int (*load)(void *user, const struct id16 *patient,
                                         const struct digest *object_id, uint8_t **out_p,
                                         size_t *out_n),
                             void *user);

/* What is live, in the order of ids; bytes are those of the change. Not over a base. */
struct memory_row {
    struct id16 id;
    struct ledger_row row;
    struct view bytes;
};
/* Stops at the first non-zero result of on_row and returns it; on_row must not put. */
int state_memory_each_row(const struct state_memory *m, const struct id16 *patient,
                          int (*on_row)(void *user, const struct memory_row *row),
                          void *user) PHR_MUST_CHECK;

SCOPED_HANDLE(struct state_memory, state_memory_free)

#endif
