#include "client/replica.h"

#include <string.h>
#include <sys/mman.h>

#include "client/replica_state.h"
#include "crypto/digest.h"

enum {
    FETCH_BYTES =
        3 * 1024 * 1024, /* an answer with its heads stays below a frame's limit */
    OBJECT_TIMEOUT_MS = 120 * 1000
};
#define OBJECT_BYTES_MAX (UINT64_C(1) << 30) /* some millions of rows */

int replica_new(struct phr_client *c, const struct id16 *patient,
                const struct verify_anchor *anchor, const struct keyring_pin *pin,
                struct replica **out_replica)
{
    struct replica *r = calloc(1, sizeof *r);

    if (!r)
        return -ENOMEM;
    r->client = c;
    r->patient = *patient;
    r->anchor = *anchor;
    if (pin)
        r->pin = *pin;
    r->has_pin = pin != NULL;
    *out_replica = r;
    return 0;
}

void replica_free(struct replica *r)
{
    if (!r)
        return;
    replica_state_fini(r);
    free(r);
}

static int apply_answer(struct replica *r, struct view answer, uint64_t *out_head,
                        uint16_t *out_count)
{
    const struct ledger_state state = replica_state(r);
    struct reader in = reader_over(answer);
    uint64_t head = reader_u64(&in);
    uint16_t count = reader_u16(&in);

    for (uint16_t i = 0; i < count && reader_ok(&in); i++) {
        struct view entry = reader_lp(&in, ENTRY_BYTES_MAX);
        int rc = reader_ok(&in) ? verify_entry_apply(&state, &r->anchor, entry, 0)
                                : PHR_E_PROTOCOL;

        if (rc < 0)
            return client_fail(r->client, rc,
                               "the ledger does not verify after entry %llu: %s",
                               (unsigned long long)r->seq, phr_err_text(rc));
    }
    if (!reader_done(&in))
        return PHR_E_PROTOCOL;
    *out_head = head;
    *out_count = count;
    return 0;
}

static int fetch_once(struct replica *r, bool *out_more)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(writer_fini) struct writer ask;
    uint64_t head = 0;
    uint16_t count = 0;
    int rc;

    writer_init(&ask);
    writer_bytes(&ask, r->patient.b, sizeof r->patient.b);
    writer_u64(&ask, r->has_head ? r->seq + 1 : 0);
    writer_u32(&ask, FETCH_BYTES);
    if (!writer_ok(&ask))
        return -ENOMEM;
    rc = client_ask(r->client, MSG_LEDGER_FETCH, writer_done(&ask), -1,
                    CLIENT_CALL_TIMEOUT_MS, &reply);
    if (rc == -ENOENT)
        rc = PHR_E_UNKNOWN_ID;
    if (rc == 0)
        rc = apply_answer(r, view_of(reply.bytes, reply.n), &head, &count);
    if (rc < 0)
        return rc;
    *out_more = count > 0 && r->seq < head;
    return 0;
}

int replica_refresh(struct replica *r)
{
    bool more = true;
    int rc = 0;

    while (rc == 0 && more)
        rc = fetch_once(r, &more);
    if (rc < 0)
        return rc;
    if (!r->has_head)
        return client_fail(r->client, PHR_E_UNKNOWN_ID,
                           "the server has no ledger of this patient");
    if (r->has_pin && r->seq < r->pin.seq)
        return client_fail(
            r->client, PHR_E_ROLLBACK,
            "the server shows entry %llu as the newest, but this keyring has seen %llu: "
            "it was rolled back",
            (unsigned long long)r->seq, (unsigned long long)r->pin.seq);
    return 0;
}

bool replica_get_head(const struct replica *r, uint64_t *out_seq, struct digest *out_leaf)
{
    *out_seq = r->seq;
    *out_leaf = r->leaf;
    return r->has_head;
}

const struct replica_class *replica_get_class(const struct replica *r, size_t index)
{
    return index < r->class_count ? &r->classes[index] : NULL;
}

const struct replica_grant *replica_get_grant(const struct replica *r, size_t index)
{
    return index < r->grant_count ? &r->grants[index] : NULL;
}

const struct replica_header *replica_get_header(const struct replica *r, size_t index)
{
    return index < r->header_count ? &r->headers[index] : NULL;
}

const struct replica_row *replica_get_row(const struct replica *r, size_t index)
{
    return index < r->row_count ? &r->rows[index] : NULL;
}

const struct replica_class *replica_find_class(const struct replica *r,
                                               const struct id16 *class_id)
{
    const struct replica_class *found = NULL;

    for (size_t i = 0; i < r->class_count; i++) {
        const struct replica_class *c = &r->classes[i];

        if (id_equal(&c->ctx.class_id, class_id) &&
            (!found || c->ctx.epoch > found->ctx.epoch))
            found = c;
    }
    return found;
}

const struct replica_class *replica_find_epoch(const struct replica *r,
                                               const struct class_ctx *ctx)
{
    for (size_t i = 0; i < r->class_count; i++) {
        if (class_ctx_equal(&r->classes[i].ctx, ctx))
            return &r->classes[i];
    }
    return NULL;
}

const struct replica_row *replica_find_row(const struct replica *r, const struct id16 *id)
{
    uint32_t place = idmap_get(&r->row_map, id);

    return place == IDMAP_NONE || r->rows[place].is_dead ? NULL : &r->rows[place];
}

const struct replica_header *replica_find_header(const struct replica *r,
                                                 const struct id16 *file)
{
    uint32_t place = idmap_get(&r->header_map, file);

    return place == IDMAP_NONE || r->headers[place].bytes.n == 0 ? NULL
                                                                 : &r->headers[place];
}

int replica_find_card(const struct replica *r, const struct id16 *user,
                      struct card *out_card)
{
    for (size_t i = 0; i < r->card_count; i++) {
        if (id_equal(&r->cards[i].user, user)) {
            *out_card = r->cards[i];
            return 0;
        }
    }
    return -ENOENT;
}

/* phrd gets an empty file to fill; what lies in it then is checked once more here. */
int replica_load_object(struct phr_client *c, const struct id16 *patient,
                        const struct digest *id, uint8_t **out_p, size_t *out_n)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(close_fd) int fd = memfd_create("object", MFD_CLOEXEC);
    scoped(free) uint8_t *bytes = NULL;
    uint8_t ask[16 + 32 + 8];
    struct digest have;
    uint64_t n;
    int rc;

    if (fd < 0)
        return -errno;
    memcpy(ask, patient->b, 16);
    memcpy(ask + 16, id->b, 32);
    put_le64(ask + 48, OBJECT_BYTES_MAX);
    rc = client_ask(c, MSG_OBJECT_GET, view_of(ask, sizeof ask), fd, OBJECT_TIMEOUT_MS,
                    &reply);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "an object of the namespace");
    if (reply.n != 8)
        return PHR_E_PROTOCOL;
    n = get_le64(reply.bytes);
    if (n > OBJECT_BYTES_MAX)
        return PHR_E_LIMIT;
    bytes = malloc(n ? (size_t)n : 1);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(fd, bytes, (size_t)n, 0);
    if (rc < 0)
        return rc;
    have = digest_sha256(view_of(bytes, (size_t)n));
    if (!digest_equal(&have, id))
        return client_fail_plain(c, PHR_E_SEAL, "an object of the namespace");
    *out_n = (size_t)n;
    *out_p = give(bytes);
    return 0;
}
