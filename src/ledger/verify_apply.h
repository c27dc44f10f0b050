/* What one verified change does to the state. Only verify.c calls this. */
#ifndef PHR_LEDGER_VERIFY_APPLY_H
#define PHR_LEDGER_VERIFY_APPLY_H

#include "ledger/state.h"

struct verify_place {
    struct class_ctx ctx; /* the running class, as in struct verify_scope */
    uint64_t now_s;
    bool is_hold_seen; /* whether this class is held was looked at */
};
/* The change was checked; a failure is the state's own. */
int verify_apply_change(const struct ledger_state *s, struct verify_place *place,
                        const struct change *c) PHR_MUST_CHECK;

#endif
