/* Promises on disk and wire (S-6). Tuning constants stand beside their user. */
#ifndef PHR_FORMAT_LIMITS_H
#define PHR_FORMAT_LIMITS_H

#include <assert.h>
#include <stdint.h>

enum {
    BLOCK_LOG2 = 12,       /* what is written */
    BLOCK_LOG2_MAX = 16,   /* what is read: 12..16 */
    BLOCK_BYTES = 1 << BLOCK_LOG2,
    SEG_LOG2 = 22,
    SEG_BYTES = 1 << SEG_LOG2,
    SEG_BLOCKS = SEG_BYTES / BLOCK_BYTES,
    SALT_BYTES = 32,
    STRIP_ENTRY_GCM_BYTES = 12 + 16,
    STRIP_ENTRY_XCHACHA_BYTES = 24 + 16,
    NAME_BYTES_MAX = 255,
    SYMLINK_BYTES_MAX = 4095,
    LABEL_BYTES_MAX = 64,       /* of a card */
    DISPLAY_NAME_BYTES_MAX = 255, /* patient, compartment */
    XATTR_VALUE_BYTES_MAX = 64 * 1024,
    XATTR_BYTES_MAX = 256 * 1024, /* all of one inode, sealed */
    INODE_BYTES_MAX = 300 * 1024,
    HEADER_BYTES_MAX = 1024,
    FK_COUNT_MAX = 16,
    CARD_BYTES_MAX = 1024,
    GRANT_BYTES_MAX = 1024,
    OP_CHANGES_MAX = 256,
    ENTRY_BODY_BYTES_MAX = 1024 * 1024, /* LE16 count, then LP(op) and a signature each */
    OP_BYTES_MAX = ENTRY_BODY_BYTES_MAX - (2 + 4 + 64), /* so that each op has an entry that takes it */
    ENTRY_BYTES_MAX = ENTRY_BODY_BYTES_MAX + 1024,
    OPEN_FILES_MAX = 256,  /* in one open request */
    LEDGER_LIST_IDS_MAX = 2048, /* patients, and users, in one LEDGER_LIST */
    EVENT_BYTES_MAX = 1024,
    CONTEXT_BYTES_MAX = 1024
};
enum ledger_list_kind { LEDGER_LIST_OF_READER = 1, LEDGER_LIST_NAMED = 2 };
#define FILE_BYTES_MAX (UINT64_C(16) << 40)

static_assert(BLOCK_BYTES % 4096 == 0, "pages must not straddle blocks");

#endif
