/* What verification asks of a replica. */
#ifndef PHR_CLIENT_REPLICA_ASK_H
#define PHR_CLIENT_REPLICA_ASK_H

#include "ledger/state.h"

/* Sets the questions (get_…, find_…); user is a struct replica. */
void replica_ask_fill(struct ledger_state *io_state);

#endif
