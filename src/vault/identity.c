/* Login's first half: a keyring becomes an identity, or is refused. */
#include "vault/identity.h"

#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_outbox.h"
#include "vault/worker.h"

static int check_anchors(const struct vault *v, const struct keyring *ring);
static int check_pins(struct vault *v, const struct keyring *ring);
static int load_local_key(struct vault *v, struct identity *id);

int identity_new(struct vault *v, struct keyring *take, struct identity **out_id)
{
    struct identity *id = calloc(1, sizeof *id);
    int rc;

    if (!id) {
        keyring_free(take);
        return -ENOMEM;
    }
    id->ring = take;
    id->user = take->user;
    rc = take->is_approved && take->b && take->seed ? 0 : PHR_E_CARD;
    if (rc == 0)
        rc = check_anchors(v, take);
    if (rc == 0)
        rc = card_check(view_of(take->card, take->card_bytes), &v->anchor.authority, &id->card);
    if (rc == 0 && !id_equal(&id->card.user, &id->user))
        rc = PHR_E_CARD;
    if (rc == 0)
        rc = card_check_time(&id->card, clock_realtime_s());
    if (rc == 0)
        rc = check_pins(v, take);
    if (rc == 0) {
        id->sign = sign_key_from_seed(take->seed);
        rc = id->sign ? 0 : -ENOMEM;
    }
    if (rc == 0)
        rc = load_local_key(v, id);
    for (int lane = OP_LANE_META; rc == 0 && lane <= OP_LANE_SEAL; lane++) {
        uint64_t floor = 0;

        rc = nsdb_last_n_max(v->db, &id->user, &v->host, (enum op_lane)lane, &floor);
        if (rc == 0)
            rc = nsdb_op_n_load(v->db, &id->user, (enum op_lane)lane, floor, &id->op_n[lane]);
    }
    if (rc < 0) {
        identity_free(id);
        return rc;
    }
    *out_id = id;
    return 0;
}

/* realm/ is a file that somebody could swap; the keyring is what the person trusts. */
static int check_anchors(const struct vault *v, const struct keyring *ring)
{
    struct digest authority = digest_sha256(view_of(ring->authority_card, ring->authority_card_bytes));
    struct digest srs = digest_sha256(view_of(ring->srs_card, ring->srs_card_bytes));

    if (!digest_equal(&authority, &v->authority_card.hash))
        return PHR_E_CARD;
    return digest_equal(&srs, &v->srs_card.hash) ? 0 : PHR_E_CARD;
}

static int check_pins(struct vault *v, const struct keyring *ring)
{
    for (size_t i = 0; i < ring->pin_count; i++) {
        const struct keyring_pin *pin = &ring->pins[i];
        struct digest leaf;
        uint64_t seq;
        int rc = nsdb_patient_get(v->db, &pin->patient, &seq, &leaf);

        if (rc == -ENOENT)
            continue; /* not fetched yet: nothing that could be older */
        if (rc < 0)
            return rc;
        /* A server that is slow here may be one that hides what it shows later: no login. */
        if (seq < pin->seq && v->link && link_is_up(v->link))
            return worker_is_behind(v, &pin->patient, seq) ? PHR_E_TIMEOUT : PHR_E_ROLLBACK;
        if (seq == pin->seq && !digest_equal(&leaf, &pin->leaf))
            return PHR_E_FORK;
    }
    return 0;
}

static int load_local_key(struct vault *v, struct identity *id)
{
    scoped(writer_fini) struct writer box = { 0 };
    uint8_t sealed[sizeof id->lk->b + SEAL_EXTRA_BYTES];
    uint8_t aad[5 + 32];
    int rc;

    memcpy(aad, "local", 5);
    memcpy(aad + 5, v->host.b, sizeof v->host.b);
    memcpy(aad + 21, id->user.b, sizeof id->user.b);
    id->lk = secret_alloc(sizeof *id->lk);
    if (!id->lk)
        return -ENOMEM;
    writer_init(&box);
    rc = nsdb_local_key_get(v->db, &id->user, LOCAL_KEY_LK, NULL, 0, &box);
    if (rc == 0 && box.n == sizeof sealed)
        rc = seal_open(id->ring->b, view_of(aad, sizeof aad), writer_done(&box),
                       (struct span){ id->lk->b, sizeof id->lk->b });
    if (rc == 0)
        return 0;
    if (rc != -ENOENT && rc != PHR_E_SEAL)
        return rc;
    /* None yet, or one of an earlier KEM key: what lay under it is asked of the SRS again. */
    random_fill(id->lk->b, sizeof id->lk->b);
    rc = seal_to(&id->card.b, view_of(aad, sizeof aad), view_of(id->lk->b, sizeof id->lk->b),
                 (struct span){ sealed, sizeof sealed });
    if (rc < 0)
        return rc;
    return nsdb_local_key_put(v->db, &id->user, LOCAL_KEY_LK, NULL, 0,
                              view_of(sealed, sizeof sealed));
}
