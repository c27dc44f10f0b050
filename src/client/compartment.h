/* The keys of one compartment and epoch, made or opened by the owner (CRYPTO 2.5, 2.7). */
#ifndef PHR_CLIENT_COMPARTMENT_H
#define PHR_CLIENT_COMPARTMENT_H

#include "client/replica.h"
#include "format/row.h"

struct compartment {
    struct class_ctx ctx;
    struct point a_pub;
    struct scalar *a; /* arena, as the rest */
    struct symkey *lk;
    struct symkey *nk;
    struct row_keys rows;
};

/* Fresh a, lk and NK for ctx. */
int compartment_new(const struct class_ctx *ctx, struct compartment *out) PHR_MUST_CHECK;
/* From a class record, with the owner's KEM secret. PHR_E_SEAL. */
int compartment_open_sealed(const struct replica_class *from,
                            const struct scalar *owner_b,
                            struct compartment *out) PHR_MUST_CHECK;
void compartment_fini(struct compartment *c);

/* Each appends to out: the class record, the names header, the class root's inode row. */
int compartment_record(const struct compartment *c, const struct point *owner,
                       struct writer *out) PHR_MUST_CHECK;
int compartment_names_header(const struct compartment *c, uint32_t hdr_gen,
                             struct writer *out) PHR_MUST_CHECK;
int compartment_root(const struct compartment *c, const char *patient_name,
                     const char *name, struct writer *out) PHR_MUST_CHECK;
/* The names that the class root's inode holds; each has DISPLAY_NAME_BYTES_MAX + 1 of room. */
int compartment_names(const struct compartment *c, const struct replica *r,
                      char *out_patient, char *out_name) PHR_MUST_CHECK;

static inline void compartment_fini_scope(struct compartment *c)
{
    compartment_fini(c);
}

#endif
