/* The tables of a replica and the ledger_state over them. */
#ifndef PHR_CLIENT_REPLICA_STATE_H
#define PHR_CLIENT_REPLICA_STATE_H

#include "client/idmap.h"
#include "client/replica.h"

struct replica_lane {
    struct id16 writer;
    struct id16 host;
    enum op_lane lane;
    uint64_t n;
};

struct replica {
    struct phr_client *client;
    struct id16 patient;
    struct verify_anchor anchor;
    struct keyring_pin pin;
    bool has_pin;
    bool has_head;
    uint64_t seq;
    struct digest leaf;
    struct replica_class *classes;
    size_t class_count;
    struct replica_grant *grants;
    size_t grant_count;
    struct idmap grant_map;
    struct card *cards;
    size_t card_count;
    struct replica_lane *lanes;
    size_t lane_count;
    struct replica_row *rows;
    size_t row_count;
    struct idmap row_map;
    struct idmap name_map; /* hash of (parent, tag) to a row's place */
    struct replica_header *headers;
    size_t header_count;
    struct idmap header_map;
    uint64_t *versions; /* of contents, by place in version_map */
    size_t version_count;
    struct idmap version_map;
};

/* The key of a live name in name_map. */
struct id16 replica_state_name_key(const struct id16 *parent, const struct id16 *tag);
struct replica_lane *replica_state_find_lane(const struct replica *r,
                                             const struct id16 *writer,
                                             const struct id16 *host, enum op_lane lane);
struct ledger_state replica_state(struct replica *r);
void replica_state_fini(struct replica *r);

#endif
