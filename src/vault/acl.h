/* POSIX ACLs: computed from grants, or stored and inherited (system.posix_acl_*, version 2). */
#ifndef PHR_VAULT_ACL_H
#define PHR_VAULT_ACL_H

#include <sys/stat.h>

#include "vault/session.h"

/* ---- ownership=grants; under the names lock ---- */
/* The ACL of every node of a compartment; of a patient's directory: class_id NULL. */
int acl_of_grants(struct vault *v, const struct id16 *patient, const struct id16 *class_id,
                  mode_t mode, struct writer *out) PHR_MUST_CHECK;
/* Owner and mode bits that go with it. */
void acl_show_grants(struct vault *v, const struct id16 *class_id, struct stat *io_st);
/* ownership=stored: a compartment's root that nobody has chmod'ed yet belongs to who mounts. */
void acl_show_root(struct stat *io_st);
mode_t acl_top_mode(const struct vault *v);

/* ---- ownership=stored; no lock ---- */
/*
 * A new node in a directory with this default ACL (or none): mode as asked, umask not applied
 * yet. out_access: the ACL to store (empty: none needed), out_default: for directories.
 */
int acl_inherit(struct view dir_default, mode_t mode, mode_t umask, mode_t *out_mode,
                struct writer *out_access) PHR_MUST_CHECK;
/* chmod rewrites owner, mask (or group) and other of an access ACL. */
int acl_chmod(struct view access, mode_t mode, struct writer *out) PHR_MUST_CHECK;
/* setfacl: the mode bits that an access ACL means; *out_minimal: the bits say it all. -EINVAL. */
int acl_to_mode(struct view access, mode_t mode, mode_t *out_mode, bool *out_minimal) PHR_MUST_CHECK;

#endif
