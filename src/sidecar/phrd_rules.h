/* The table of messages that phrd answers. */
#ifndef PHR_SIDECAR_PHRD_RULES_H
#define PHR_SIDECAR_PHRD_RULES_H

#include "ipc/server.h"

extern const struct rule phrd_rules[];
extern const size_t phrd_rule_count;
/* For server_opts; user is the struct phrd. */
void phrd_rules_on_close(void *user, const struct peer *peer);

#endif
