/*
 * Fills a realm with patients as `phr patient add` makes them, but for the keyring: card and ledger
 * are there, nobody has the keys. Without its seconds of Argon2id, 100,000 take minutes.
 *
 *   realm_fill COUNT COMPARTMENTS AUTHORITY_PASSFILE     the realm is that of PHR_HOME
 *
 * One push is one patient, as the server wants it; start several so that it can batch.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "client/keys.h"
#include "client/owner.h"
#include "crypto/random.h"

enum {
    COUNT_MAX = 10000000,
    COMPARTMENTS_MAX = 16,
    CARD_VALID_S = 365 * 24 * 3600,
    PUSH_WAIT_MS = 600000 /* on a machine that has other things to do as well */
};

struct filler {
    struct phr_client *client;
    struct phr_identity *authority;
    struct id16 host;
    int cards; /* realm/cards */
    const char *passfile;
    unsigned compartments;
};

/* Keys and an approved card, in memory only. */
static int make_patient(struct filler *f, struct phr_identity **out)
{
    const struct phr_passphrase pass = { .fd = -1, .file = f->passfile };
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(writer_fini) struct writer card;
    struct keys_wish wish = { .role = CARD_OWNER,
                              .label = "",
                              .file = "filler-never-saved",
                              .org = f->authority->card.org,
                              .not_after_s = clock_realtime_s() + CARD_VALID_S };
    int rc = keys_new(f->client, &wish, &pass, &i);

    writer_init(&card);
    if (rc == 0)
        rc = keys_set_anchors(
            i, view_of(f->authority->ring->card, f->authority->ring->card_bytes),
            view_of(f->authority->ring->srs_card, f->authority->ring->srs_card_bytes));
    if (rc == 0)
        rc = keys_approve(f->authority, view_of(i->ring->card, i->ring->card_bytes),
                          &card);
    if (rc == 0)
        rc = keys_set_card(i, writer_done(&card), true);
    if (rc == 0)
        *out = give(i);
    return rc;
}

static int add_compartment(struct draft *d, const struct phr_identity *i, unsigned number)
{
    scoped(compartment_fini) struct compartment keys = { 0 };
    scoped(writer_fini) struct writer header;
    const struct class_ctx ctx = { .patient = i->ring->user,
                                   .class_id = random_id(),
                                   .epoch = 1 };
    struct header_change change = { .file = ctx.class_id, .hdr_gen = 1 };
    char name[32];
    int rc = compartment_new(&ctx, &keys);

    writer_init(&header);
    ignored(snprintf(name, sizeof name, "compartment%u", number)); /* fits */
    if (rc == 0)
        rc = compartment_record(&keys, &i->card.b, draft_add(d, CHANGE_CLASS_RECORD));
    if (rc == 0)
        rc = compartment_names_header(&keys, 1, &header);
    if (rc < 0)
        return rc;
    change.header = writer_done(&header);
    header_change_encode(&change, draft_add(d, CHANGE_HEADER));
    return compartment_root(&keys, i->user_hex, name, draft_add(d, CHANGE_INODE));
}

static int sign_genesis(const struct filler *f, const struct phr_identity *i,
                        const struct draft *d, struct writer *out_op)
{
    struct change changes[1 + 3 * COMPARTMENTS_MAX];
    const struct op op = { .patient = i->ring->user,
                           .host = f->host,
                           .n = ((uint64_t)OP_LANE_TOOL << 56) + 1,
                           .time_s = clock_realtime_s(),
                           .writer = i->ring->user,
                           .writer_card = i->card.hash,
                           .count = d->count,
                           .changes = changes };

    for (uint16_t k = 0; k < d->count; k++)
        changes[k] =
            (struct change){ d->changes[k].type, writer_done(&d->changes[k].body) };
    return op_encode(&op, out_op);
}

static int push_genesis(const struct filler *f, const struct phr_identity *i,
                        struct view op)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(writer_fini) struct writer ask;
    const struct signature sig = op_sign(op, i->sign);
    struct reader in;
    int rc;

    writer_init(&ask);
    writer_u16(&ask, 1);
    writer_lp(&ask, op);
    writer_bytes(&ask, sig.b, sizeof sig.b);
    writer_u16(&ask, 0); /* no grants */
    if (!writer_ok(&ask))
        return -ENOMEM;
    rc = client_ask(f->client, MSG_OP_PUSH, writer_done(&ask), -1, PUSH_WAIT_MS, &reply);
    if (rc < 0)
        return rc;
    in = reader_over(view_of(reply.bytes, reply.n));
    if (reader_u16(&in) != 1)
        return PHR_E_PROTOCOL;
    return (int)(int32_t)reader_u32(&in);
}

static int add_patient(struct filler *f)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(draft_fini) struct draft d = { 0 };
    scoped(writer_fini) struct writer op;
    struct class_ctx none = { 0 };
    char name[64];
    int rc = make_patient(f, &i);

    writer_init(&op);
    if (rc < 0 || !i)
        return rc;
    none.patient = i->ring->user;
    rc = draft_init(&d, &none);
    if (rc < 0)
        return rc;
    writer_bytes(draft_add(&d, CHANGE_CARD_PIN), i->ring->card, i->ring->card_bytes);
    for (unsigned k = 0; rc == 0 && k < f->compartments; k++)
        rc = add_compartment(&d, i, k);
    if (rc == 0)
        rc = sign_genesis(f, i, &d, &op);
    if (rc == 0)
        rc = push_genesis(f, i, writer_done(&op));
    if (rc < 0)
        return rc;
    i->is_changed = false; /* nobody saves this keyring */
    ignored(snprintf(name, sizeof name, "%s.card", i->user_hex)); /* 32 digits */
    return fdio_save(f->cards, name, view_of(i->ring->card, i->ring->card_bytes), 0644);
}

static int fill(struct filler *f, long count)
{
    const struct phr_passphrase pass = { .fd = -1, .file = f->passfile };
    int rc = keys_unlock_authority(f->client, &pass, &f->authority);

    if (rc == 0)
        rc = client_get_host(f->client, &f->host);
    if (rc == 0)
        rc = client_open_dir(f->client, "realm/cards", &f->cards);
    for (long n = 0; rc == 0 && n < count; n++)
        rc = add_patient(f);
    phr_identity_lock(f->authority);
    return rc;
}

int main(int argc, char *argv[])
{
    struct filler f = { .cards = -1 };
    char why[512] = "";
    long count, compartments;
    int rc;

    if (argc != 4) {
        fprintf(stderr, "usage: realm_fill COUNT COMPARTMENTS AUTHORITY_PASSFILE\n");
        return 2;
    }
    count = strtol(argv[1], NULL, 10);
    compartments = strtol(argv[2], NULL, 10);
    if (count < 1 || count > COUNT_MAX || compartments < 1 ||
        compartments > COMPARTMENTS_MAX)
        return 2;
    f.compartments = (unsigned)compartments;
    f.passfile = argv[3];
    rc = phr_client_open(NULL, &f.client, why, sizeof why);
    if (rc == 0) {
        rc = fill(&f, count);
        if (rc < 0)
            ignored(snprintf(why, sizeof why, "%s", phr_client_get_why(f.client)));
    }
    if (rc < 0)
        fprintf(stderr, "realm_fill: %s\n", why[0] ? why : phr_err_text(rc));
    phr_client_close(f.client);
    return rc < 0 ? 1 : 0;
}
