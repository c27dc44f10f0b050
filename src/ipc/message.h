/*
 * The catalogue of messages: the border between the processes, in one table.
 *
 * Numbers are little-endian; `rc` is a result as LE32 two's complement; LP(x) = LE32 length || x.
 * A reply carries the status in the frame (0 or a negative reason) and, when the status is 0
 * or the table says so, the payload below. Every length is checked against the limit of the
 * row (ipc/rules in the server) before memory is taken. See README.md for who may send what.
 */
#ifndef PHR_IPC_MESSAGE_H
#define PHR_IPC_MESSAGE_H

enum { IPC_VERSION = 1, IPC_PAYLOAD_BYTES_MAX = 4 * 1024 * 1024 };

/* Who is at the other end of a connection to phrd: said in HELLO, checked with SO_PEERCRED. */
enum ipc_role { IPC_ROLE_NONE = 0, IPC_ROLE_MOUNT = 1, IPC_ROLE_TOOL = 2 };

enum check_flags { CHECK_NEW = 1 << 0, CHECK_REPAIR = 1 << 1 };
enum msg_type {
    /* ---- to phrd, over phrd.sock ---- */
    /* LE16 version || u8 role || host16 (mounts; zero for tools) || LE64 lease seconds a mount keeps keys
       -> LE16 version || host16 of phrd || SHA(srs card)32 || LE64 time_s */
    MSG_HELLO = 1,
    /* LE16 n || n*(LP(op) || sig64) || LE16 k || k*(grant16 || LP(sealed_rk)); ops of one patient
       -> LE16 n || n*(rc || LE64 seq, or for PHR_E_STALE the last n that the SRS has seen in that lane) */
    MSG_OP_PUSH = 2,
    /* patient16 || LE64 from_seq || LE32 bytes_max -> LE64 head_seq || LE16 n || n*LP(rec||sig) */
    MSG_LEDGER_FETCH = 3,
    /* u8 1 || reader16 || after16: ledgers in which the reader has a grant, with ids behind `after`; or
       u8 2 || LE32 n || n*patient16 || LE32 m || m*user16: of these, those that exist and, when m > 0, that one
       of the users owns or has a grant in; n and m at most LEDGER_LIST_IDS_MAX
       -> LE32 n || n*(patient16 || LE64 head_seq || leaf32) || u8 more, behind the last one */
    MSG_LEDGER_LIST = 4,
    /* LP(open request) || LP(context) -> open answer (format/open_request.h) */
    MSG_OPEN = 5,
    /* file_ctx56 || grant16 || w1 -> dleq c32 || z32 */
    MSG_PROVE = 6,
    /* LP(spool header) || LE64 first_n || LP(records) -> LE64 next n that the SRS expects */
    MSG_SPOOL_PUSH = 7,
    /* patient16 || object_id32 || LE64 offset || LE64 len, with one read descriptor
       -> (empty), when the store has it; PHR_E_STORE_REFUSED when it is parked. No deadline. */
    MSG_OBJECT_PUT = 8,
    /* patient16 || object_id32 || LE64 bytes_max, with one descriptor of an empty file
       -> LE64 len; the bytes have this SHA-256 */
    MSG_OBJECT_GET = 9,
    /* (empty) -> JSON text, layout in the man page of phr status */
    MSG_STATUS = 10,
    /* patient16 || LE64 seq: this mount has applied everything up to seq, cut-offs included -> (empty) */
    MSG_APPLIED = 11,
    /* patient16 || LE64 seq || LE32 timeout_ms
       -> LE16 n || n*(host16 || u8 applied || LE64 cut-off by itself at, s) */
    MSG_WAIT_APPLIED = 12,
    /* LE64 from || LE32 count || LP(proof): proof empty for root and phrd's own user, else an owner's
       signature: patient16 || LE64 time_s || ed_pk32 || sig64 over label "phrfs/v1/open" and
       SHA("audit" || patient16 || LE64 time_s || LE64 from || LE32 count); only that patient's records then
       -> LE64 size || LE32 n || n*(LE64 index || entry49 || leaf32 || salt32 || LP(record)) ; a withheld record is empty */
    MSG_AUDIT_FETCH = 13,
    /* (empty) -> LP(checkpoint note); signs a fresh one when the log has grown */
    MSG_AUDIT_HEAD = 14,
    /* LE64 old_size || LE64 new_size -> LE16 n || n*hash32 (RFC 6962 consistency proof) */
    MSG_AUDIT_CONSISTENCY = 15,
    /* (empty) -> LE32 items that were parked and are queued again. Also pushed, with nothing in
       it, to every mount: what was refused may be offered again */
    MSG_STORE_RETRY = 16,
    /* LP(signed suspension list of the authority) -> (empty) */
    MSG_SUSPEND = 17,
    /* LP(event): something that the command line did, recorded as a leaf (root and phrd's user only) -> (empty) */
    MSG_EVENT = 18,
    /* patient16 (zero: list all) -> LE32 n || n*LP(ledger key): asks the object store itself which ledger
       entries `p/<patient>/l/<seq>` exist; used to rebuild an SRS from the bucket */
    MSG_STORE_LIST = 19,

    /* ---- to phrfs, over the mount's control socket ---- */
    /* LE16 purpose || LP(keyring body, SECRET) -> user16. Binds the identity to the caller's uid. */
    MSG_LOGIN = 64,
    /* (empty) -> LE32 files that are not sealed yet and wait for the next login */
    MSG_LOGOUT = 65,
    /* (empty) -> JSON text */
    MSG_MOUNT_STATUS = 66,
    /* LE32 timeout_ms -> LE32 pending ops || LE32 unsealed files || LE32 objects not stored || LE32 parked */
    MSG_MOUNT_SYNC = 67,
    /* u8 flags of enum check_flags -> JSON text of one step (vault.h): asked until it is finished */
    MSG_MOUNT_CHECK = 68,

    /* ---- pushes from phrd (request id 0) ---- */
    /* patient16 || LE64 seq: the ledger of this patient has grown */
    MSG_LEDGER_CHANGED = 128
};

#endif
