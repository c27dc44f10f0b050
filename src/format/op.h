/* Ops, their changes, ledger entries (CRYPTO 2.7). */
#ifndef PHR_FORMAT_OP_H
#define PHR_FORMAT_OP_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/limits.h"

enum change_type {
    CHANGE_CLASS_RECORD = 1,
    CHANGE_GRANT,
    CHANGE_REVOKE,
    CHANGE_EPOCH_BEGIN,
    CHANGE_EPOCH,
    CHANGE_RETIRE_EPOCH,
    CHANGE_HEADER,
    CHANGE_INODE,
    CHANGE_DENTRY,
    CHANGE_REMOVE,
    CHANGE_SEAL,
    CHANGE_SNAPSHOT,
    CHANGE_CARD_PIN,
    CHANGE_BREAK_GLASS,
    CHANGE_GUEST_SHARE,
    CHANGE_LAST = CHANGE_GUEST_SHARE
};

/* The top byte of an op's number. Each lane rises by itself per (writer, host). */
enum op_lane { OP_LANE_META = 0, OP_LANE_SEAL = 1, OP_LANE_TOOL = 2 };
static inline enum op_lane op_lane(uint64_t n)
{
    return (enum op_lane)(n >> 56);
}

struct change {
    enum change_type type;
    struct view body; /* borrowed */
};

struct op {
    struct id16 patient;
    struct id16 class_id; /* the class it concerns; zero for patient-wide (genesis) */
    uint32_t epoch;
    struct id16 host;
    uint64_t n;
    struct digest base_leaf; /* newest entry that the writer had applied; zero = none */
    uint64_t time_s;
    struct id16 writer;
    struct digest writer_card;
    uint16_t count;
    struct change *changes; /* decode: new memory, op_fini; bodies borrow from the input */
};
int op_encode(const struct op *o, struct writer *out) PHR_MUST_CHECK; /* PHR_E_LIMIT */
int op_decode(struct view bytes, struct op *out_op) PHR_MUST_CHECK;
void op_fini(struct op *o);
struct signature op_sign(struct view op_bytes, const struct sign_key *writer);
int op_check(struct view op_bytes, const struct signature *sig,
             const struct verify_key *writer) PHR_MUST_CHECK;

struct signed_op {
    struct view op;
    struct signature sig;
};
enum { ENTRY_OPS_MAX = 256, ENTRY_TYPE_OPS = 1 };
struct entry {
    struct id16 patient;
    uint64_t seq;
    struct digest prev;
    uint8_t type;
    uint64_t time_s;
    struct id16 srs;
    struct digest srs_card;
    uint16_t op_count;
    struct signed_op *ops; /* decode: new memory, entry_fini; views borrow */
    struct signature sig;
    struct digest leaf; /* filled by encode and decode */
};
/* rec || sig; fills leaf. */
int entry_encode(struct entry *e, const struct sign_key *srs, struct writer *out) PHR_MUST_CHECK;
int entry_decode(struct view bytes, struct entry *out_entry) PHR_MUST_CHECK;
int entry_check(struct view bytes, const struct verify_key *srs) PHR_MUST_CHECK;
void entry_fini(struct entry *e);

/* Bodies of changes. Each pair: encode appends, decode borrows; PHR_E_FORMAT. */
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

enum revoke_reason { REVOKE_OWNER = 1, REVOKE_EXPIRED = 2, REVOKE_SUSPENDED = 3, REVOKE_REPLACED = 4 };
struct revoke {
    struct id16 grant;
    enum revoke_reason reason;
};
void revoke_encode(const struct revoke *r, struct writer *out);
int revoke_decode(struct view body, struct revoke *out_revoke) PHR_MUST_CHECK;

/* epoch-begin, retire-epoch: a bare class_ctx. */
int class_ctx_body_decode(struct view body, struct class_ctx *out_ctx) PHR_MUST_CHECK;

struct epoch_change {
    struct view class_record;
    struct view names_header;
    struct digest object_id; /* a snapshot object (format/snapshot.h): dentries and inodes under the new NK */
};
void epoch_encode(const struct epoch_change *e, struct writer *out);
int epoch_decode(struct view body, struct epoch_change *out_epoch) PHR_MUST_CHECK;

struct header_change {
    struct id16 file;
    uint32_t hdr_gen;
    struct view header;
};
void header_change_encode(const struct header_change *h, struct writer *out);
int header_change_decode(struct view body, struct header_change *out_change) PHR_MUST_CHECK;

struct remove_change {
    struct id16 row; /* a dentry's row16 or an inode's ino16 (with its headers and seals) */
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

int snapshot_ref_decode(struct view body, struct digest *out_object) PHR_MUST_CHECK;

#endif
