#include "fuzz.h"

#include "format/card.h"
#include "format/grant.h"
#include "format/op.h"
#include "format/row.h"

/* Decodes a body and encodes it again; false when it is not one of this type. */
static bool body_again(enum change_type type, struct view body, struct writer *again)
{
    union {
        struct class_record class_record;
        struct revoke revoke;
        struct epoch_change epoch;
        struct header_change header;
        struct inode_row inode;
        struct dentry_row dentry;
        struct remove_change remove;
        struct seal_change seal;
    } v;

    if (type == CHANGE_CLASS_RECORD && class_record_decode(body, &v.class_record) == 0)
        class_record_encode(&v.class_record, again);
    else if (type == CHANGE_REVOKE && revoke_decode(body, &v.revoke) == 0)
        revoke_encode(&v.revoke, again);
    else if (type == CHANGE_EPOCH && epoch_decode(body, &v.epoch) == 0)
        epoch_encode(&v.epoch, again);
    else if (type == CHANGE_HEADER && header_change_decode(body, &v.header) == 0)
        header_change_encode(&v.header, again);
    else if (type == CHANGE_INODE && inode_row_decode(body, &v.inode) == 0)
        inode_row_encode(&v.inode, again);
    else if (type == CHANGE_DENTRY && dentry_row_decode(body, &v.dentry) == 0)
        dentry_row_encode(&v.dentry, again);
    else if (type == CHANGE_REMOVE && remove_decode(body, &v.remove) == 0)
        remove_encode(&v.remove, again);
    else if (type == CHANGE_SEAL && seal_decode(body, &v.seal) == 0)
        seal_encode(&v.seal, again);
    else
        return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct class_ctx ctx;
    struct digest object;
    struct grant grant;
    struct card card;
    struct view body;

    if (size < 1)
        return 0;
    body = view_of(data + 1, size - 1);
    ignored(
        class_ctx_body_decode(body, &ctx)); /* these have no encoder of their own here */
    ignored(snapshot_ref_decode(body, &object));
    ignored(grant_decode(body, &grant));
    ignored(card_decode(body, &card));
    writer_init(&again);
    if (body_again((enum change_type)data[0], body, &again))
        fuzz_expect_same(writer_done(&again), body, 0);
    return 0;
}
