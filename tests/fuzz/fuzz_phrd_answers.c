/*
 * What phrd, or who plays it, answers a mount: ledgers that there are, entries of one, what became of
 * a push, a push of its own. First byte: which. phrd is outside the border: nothing of it is trusted.
 */
#include "../unit/vault_fixture.h"

#include "../unit/fake_contents.h"
#include "fuzz.h"
#include "vault/nsdb_ledger.h"
#include "vault/worker_inside.h"

enum { OWNER_UID = 1000, IDS_MAX = 4, FIRST_NO_ID = 1000000 };
enum answer_to { TO_LIST, TO_FETCH, TO_PUSH, ANSWERS };

static struct bed bed;
static struct mount_bed m;
static bool is_started;

static void stop(void)
{
    mount_close(&m);
    bed_fini(&bed);
}

static void start(void)
{
    struct vault_backlog left = { .ops = 1 };

    is_started = true;
    fuzz_arena_open();
    bed_init(&bed);
    bed_genesis(&bed);
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
    while (left.ops > 0)
        left = mount_sync(&m);
    bed_stop(&bed);
    atexit(stop);
}

static void list(struct view answer)
{
    scoped(writer_fini) struct writer patients = { 0 };
    bool more = false;

    writer_init(&patients);
    if (following_take_answer(m.v->worker, answer, &patients, &more) == 0)
        INVARIANT(patients.n % sizeof(struct id16) == 0 && (!more || patients.n > 0));
    following_restart(&m.v->worker->following); /* nothing of it is followed on */
}

static void fetch(struct view answer)
{
    struct digest before = { { 0 } };
    struct digest after = { { 0 } };
    uint64_t seq = 0;
    uint64_t seq_after = 0;
    bool more = false;

    ignored(nsdb_patient_get(m.v->db, &bed.realm.patient, &seq, &before)); /* then 0 */
    ignored(fetching_apply_answer(m.v, &bed.realm.patient, answer, &more)); /* any reason will do */
    ignored(nsdb_patient_get(m.v->db, &bed.realm.patient, &seq_after, &after)); /* then 0 */
    INVARIANT(seq == seq_after && digest_equal(&before, &after)); /* nobody signed such an entry */
}

static void push(struct view answer)
{
    uint64_t ids[IDS_MAX];
    struct push_result result = { 0 };
    const size_t count = answer.n > 0 ? 1 + answer.p[0] % IDS_MAX : 1;

    for (size_t i = 0; i < count; i++)
        ids[i] = FIRST_NO_ID + i;
    if (pushing_take_answer(m.v, answer, ids, count, &result) == 0)
        INVARIANT(result.stale_id == 0 || (result.stale_id >= FIRST_NO_ID && result.stale_id < FIRST_NO_ID + count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view answer = view_of(data + 1, size > 0 ? size - 1 : 0);

    if (size == 0)
        return 0;
    if (!is_started)
        start();
    if (data[0] % ANSWERS == TO_LIST)
        list(answer);
    else if (data[0] % ANSWERS == TO_FETCH)
        fetch(answer);
    else
        push(answer);
    return 0;
}
