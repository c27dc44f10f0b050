/* The two levels that no ledger holds: the root (patients) and patients (compartments). Under the names lock. */
#ifndef PHR_VAULT_NODE_TOP_H
#define PHR_VAULT_NODE_TOP_H

#include "vault/names.h"

/* The name under which a patient or compartment shows; two of a name get ~ and 8 hex digits. */
void node_top_name(struct vault *v, const struct class_key *k, bool of_patient, char out[NAME_BYTES_MAX + 1]);
/* By exact name, whoever is logged in for it: the computed ACL decides. -ENOENT. */
int node_top_lookup(struct vault *v, const struct node *parent, struct view name, uint64_t *out_nodeid) PHR_MUST_CHECK;
/* The directory of a patient, made at first use. */
int node_top_patient(struct vault *v, const struct id16 *patient, uint64_t *out_nodeid) PHR_MUST_CHECK;
/* What this caller sees in the root or in a patient, in a stable order; cookie is a hash of the id. */
struct node_top_entry {
    uint64_t cookie;
    struct id16 id;
    char name[NAME_BYTES_MAX + 1];
};
int node_top_list(struct vault *v, const struct who *who, const struct node *dir,
                  struct node_top_entry **out_entries, size_t *out_count) PHR_MUST_CHECK; /* caller frees */
/* Node id of an entry: a patient's directory or a class root. */
int node_top_resolve(struct vault *v, const struct node *dir, const struct id16 *id, uint64_t *out_nodeid) PHR_MUST_CHECK;

#endif
