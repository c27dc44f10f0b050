/* From words and options to an unlocked identity, or to a patient's open ledger. */
#ifndef PHR_TOOLS_PHR_OPENING_H
#define PHR_TOOLS_PHR_OPENING_H

#include "args.h"
#include "output.h"
#include "phr/identity.h"

struct opened {
    struct phr_identity *identity;
    struct phr_owner *owner;
    struct output_place place;
};
/* The owner of PATIENT[/COMPARTMENT]; what was left half done is ended first. */
int opening_owner(struct phr_client *c, const struct args *a, const char *word,
                  struct opened *out) PHR_MUST_CHECK;
/* The identity of --as, or NULL without it. */
int opening_viewer(struct phr_client *c, const struct args *a,
                   struct phr_identity **out_identity) PHR_MUST_CHECK;
void opening_end(struct opened *o);

#endif
