/*
 * Who may do what, and with which key: sessions, leases, open requests, cut-offs. Provided by
 * the names side to the contents side of the vault.
 */
#ifndef PHR_VAULT_ACCESS_H
#define PHR_VAULT_ACCESS_H

#include "format/header.h"
#include "vault/node.h"

/* The keys of one file for one purpose; reference-counted, wiped with the last reference. */
struct key_set {
    struct file_ctx ctx;      /* of the header */
    enum aead_suite suite;
    struct file_key keys[FK_COUNT_MAX];
    size_t count;
    uint8_t header[HEADER_BYTES_MAX]; /* for footers */
    size_t header_bytes;
    bool is_released; /* by the SRS under a lease: gone with it */
    unsigned refs; /* atomic */
};
struct key_set *key_set_borrow(struct key_set *k);
void key_set_release(struct key_set *k); /* NULL is fine */
/* NULL when this generation is not there. */
const struct symkey *key_set_find(const struct key_set *k, uint32_t gen);

/* What one open handle may do: the identity of its open, its keys, and whether it is cut off. */
struct access;

enum access_mode { ACCESS_READ = 1, ACCESS_WRITE = 2 };
/*
 * Checks the caller's right on the node, writes the event (P2), gets the keys. trunc: opened
 * with O_TRUNC, which needs no old key: a fresh fk and header (hdr_gen + 1) are made.
 * PENDING as in waiter.h. The event is durable as P2 says before this returns 0.
 */
int access_open(struct vault *v, const struct who *who, uint64_t nodeid, enum access_mode mode,
                bool trunc, struct waiter *w, struct access **out_access) PHR_MUST_CHECK;
/* The writer's own new file, inside node_create. */
struct access *access_borrow(struct access *a);
void access_release(struct access *a);
/* -EACCES once the reader was cut off, ENOKEY after logout, else 0. Cheap: before each read and write. */
int access_check(struct access *a);
struct key_set *access_get_keys(const struct access *a); /* borrowed, lives as long as a */
const struct id16 *access_get_user(const struct access *a);

/*
 * Keys of a dirty file for sealing or recovery: under the local key of the last writer, or by
 * the owner's key. PHR_E_LOCKED when neither identity is logged in. Caller: key_set_release.
 */
int access_keys_local(struct vault *v, uint64_t nodeid, struct key_set **out_keys) PHR_MUST_CHECK;

#endif
