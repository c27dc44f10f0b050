#include "targets.h"

#include "base/checked.h"
#include "format/op.h"

const struct target_seed target_seeds[] = {
    { "header", "header", -1 },
    { "manifest", "manifest", -1 },
    { "footer", "footer", -1 },
    { "overlay_group", "overlay_group", -1 },
    { "dentry", "dentry", -1 },
    { "dentry_plain", "dentry_plain", -1 },
    { "inode", "inode", -1 },
    { "inode_plain", "inode_plain", -1 },
    { "xattr", "xattr", -1 },
    { "grant", "grant", -1 },
    { "card", "card", -1 },
    { "card", "card_request", -1 },
    { "op", "op", -1 },
    { "change", "class_record", CHANGE_CLASS_RECORD },
    { "change", "grant", CHANGE_GRANT },
    { "change", "revoke", CHANGE_REVOKE },
    { "change", "epoch", CHANGE_EPOCH },
    { "change", "header_change", CHANGE_HEADER },
    { "change", "inode", CHANGE_INODE },
    { "change", "dentry", CHANGE_DENTRY },
    { "change", "remove", CHANGE_REMOVE },
    { "change", "seal", CHANGE_SEAL },
    { "change", "card", CHANGE_CARD_PIN },
    { "entry", "entry", -1 },
    { "snapshot", "snapshot", -1 },
    { "open_request", "open_request", -1 },
    { "open_context", "open_context", -1 },
    { "open_answer", "open_answer", -1 },
    { "event", "event", -1 },
    { "spool_record", "spool_record", -1 },
    { "spool_record", "spool_header", -1 },
    { "audit_entry", "audit_entry", -1 },
    { "checkpoint", "checkpoint", -1 },
    { "keyring_body", "keyring_body", -1 },
    { "config", "config", -1 },
};
const size_t target_seed_count = ARRAY_COUNT(target_seeds);
