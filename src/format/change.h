/*
 * Bodies of changes (CRYPTO 2.7). Each pair: encode appends, decode borrows; PHR_E_FORMAT.
 * grant, inode, dentry and card-pin are the bytes of their own formats. break-glass and
 * guest-share have a number and no body in this version.
 */
#ifndef PHR_FORMAT_CHANGE_H
#define PHR_FORMAT_CHANGE_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "format/limits.h"

/* a || lk || NK sealed; link and wrap are empty until an aggregate card exists (2.3). */
enum { CLASS_SEALED_BYTES = 96 + 80, CLASS_LINK_BYTES = 92, CLASS_WRAP_BYTES = 124 };
struct class_record {
    struct class_ctx ctx;
    struct point a;
    uint32_t e_ctr;
    struct view sealed; /* Seal(B_owner, class_ctx, a || lk || NK) */
    struct view link;
    struct view w;
};
void class_record_encode(const struct class_record *c, struct writer *out);
int class_record_decode(struct view body, struct class_record *out_record) PHR_MUST_CHECK;

enum revoke_reason {
    REVOKE_OWNER = 1,
    REVOKE_EXPIRED = 2,
    REVOKE_SUSPENDED = 3,
    REVOKE_REPLACED = 4
};
struct revoke {
    struct id16 grant;
    enum revoke_reason reason;
};
void revoke_encode(const struct revoke *r, struct writer *out);
int revoke_decode(struct view body, struct revoke *out_revoke) PHR_MUST_CHECK;

/* epoch-begin, retire-epoch: a bare class_ctx (class_ctx_encode makes it). */
int class_ctx_body_decode(struct view body, struct class_ctx *out_ctx) PHR_MUST_CHECK;

struct epoch_change {
    struct view class_record;
    struct view names_header;
    /* A snapshot object (format/snapshot.h): dentries and inodes under the new NK. */
    struct digest object_id;
};
void epoch_encode(const struct epoch_change *e, struct writer *out);
int epoch_decode(struct view body, struct epoch_change *out_epoch) PHR_MUST_CHECK;

struct header_change {
    struct id16 file;
    uint32_t hdr_gen;
    struct view header;
};
void header_change_encode(const struct header_change *h, struct writer *out);
int header_change_decode(struct view body,
                         struct header_change *out_change) PHR_MUST_CHECK;

struct remove_change {
    /* A dentry's row16 or an inode's ino16 (with its headers and seals). */
    struct id16 row;
    uint64_t version; /* the version that is removed */
};
void remove_encode(const struct remove_change *r, struct writer *out);
int remove_decode(struct view body, struct remove_change *out_remove) PHR_MUST_CHECK;

struct seal_change {
    struct id16 file;
    uint64_t content_version;
    uint64_t base_version;
    struct digest header; /* SHA(hdr) */
    uint64_t size;
    uint64_t segment_count;
    struct digest manifest_root;
    struct digest manifest_object;
};
void seal_encode(const struct seal_change *s, struct writer *out);
int seal_decode(struct view body, struct seal_change *out_seal) PHR_MUST_CHECK;

/* snapshot: the object id alone. */
int snapshot_ref_decode(struct view body, struct digest *out_object) PHR_MUST_CHECK;

#endif
