/*
 * Audit events of this mount on their way to the SRS (P2, CRYPTO 2.5): a file spool for what
 * changes no metadata, and a table for what rides in a transaction.
 */
#ifndef PHR_VAULT_SPOOL_H
#define PHR_VAULT_SPOOL_H

#include "format/event.h"
#include "vault/node.h"
#include "vault/vault_state.h"

struct spool_opts {
    int dir_fd; /* vault/ */
    struct nsdb *db;
    struct id16 host;
    struct point srs;   /* the SRS's KEM key */
    bool is_sync;       /* audit=sync: each event is fsynced before its reply */
};
int spool_open(const struct spool_opts *opts, struct spool **out_spool) PHR_MUST_CHECK;
void spool_close(struct spool *s); /* syncs */
/* Written (not yet fsynced) when it returns 0; PHR_E_AUDIT otherwise: the access must fail. */
int spool_event(struct spool *s, const struct event *e) PHR_MUST_CHECK;
/* In the caller's transaction. */
int spool_event_tx(struct spool *s, const struct event *e) PHR_MUST_CHECK;
/* The transaction was rolled back. */
void spool_undo_tx(struct spool *s);
/* fdatasync if something is not on disk yet: within a second, and before an fsync answers. */
int spool_sync(struct spool *s) PHR_MUST_CHECK;
/*
 * The next bundle for MSG_SPOOL_PUSH: payload appended to out, *out_no its stream. table: of the
 * table, else of the files. *out_count 0: nothing is left.
 */
int spool_take(struct spool *s, bool table, struct writer *out, uint64_t *out_no,
               uint32_t *out_count) PHR_MUST_CHECK;
/* The SRS has everything of this stream below next_n. */
int spool_acknowledge(struct spool *s, bool table, uint64_t no, uint64_t next_n) PHR_MUST_CHECK;
/* Fills host, time, user, card, uid, program, purpose from the caller. sess may be NULL. */
void spool_event_init(struct vault *v, struct event *e, enum event_type type, const struct who *who,
                      const struct session *sess, char program[32]);

#endif
