/* The one thing that contents ask of the spool; a file of its own so that tests have theirs. */
#include "vault/content_state.h"
#include "vault/spool.h"

int content_sync_events(struct vault *v)
{
    return spool_sync(v->spool);
}
