#include "srs/srs_key.h"

#include <string.h>
#include <sys/stat.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre.h"
#include "crypto/random.h"

static const char file_name[] = "srs.key";
static const char magic[] = "PHRFS-X1";
enum {
    MAGIC_BYTES = 8,
    SEED_AT = 8,
    B_AT = 40,
    RECORD_AT = 72,
    SUM_AT = 104,
    FILE_BYTES = 136
};

int srs_key_make(int dir_fd)
{
    scoped(secret_free) uint8_t *bytes = secret_alloc(FILE_BYTES);
    scoped(secret_free) struct scalar *b = secret_alloc(sizeof *b);
    struct digest sum;

    if (!bytes || !b)
        return -ENOMEM;
    if (faccessat(dir_fd, file_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    memcpy(bytes, magic, MAGIC_BYTES);
    random_fill(bytes + SEED_AT, B_AT - SEED_AT);
    pre_scalar_random(b);
    memcpy(bytes + B_AT, b->b, sizeof b->b);
    random_fill(bytes + RECORD_AT, SUM_AT - RECORD_AT);
    sum = digest_sha256(view_of(bytes, SUM_AT));
    memcpy(bytes + SUM_AT, sum.b, sizeof sum.b);
    return fdio_save(dir_fd, file_name, view_of(bytes, FILE_BYTES), 0600);
}

static int check_mode(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return PHR_E_RIGHTS;
    return st.st_size == FILE_BYTES ? 0 : PHR_E_FORMAT;
}

static int take_apart(const uint8_t *bytes, struct srs_key *k)
{
    scoped(secret_free) struct symkey *seed = secret_alloc(sizeof *seed);
    const struct digest sum = digest_sha256(view_of(bytes, SUM_AT));

    if (memcmp(bytes, magic, MAGIC_BYTES) != 0 ||
        !view_equal(view_of(sum.b, sizeof sum.b), view_of(bytes + SUM_AT, sizeof sum.b)))
        return PHR_E_FORMAT;
    k->b = secret_alloc(sizeof *k->b);
    k->record = secret_alloc(sizeof *k->record);
    if (!seed || !k->b || !k->record)
        return -ENOMEM;
    memcpy(seed->b, bytes + SEED_AT, sizeof seed->b);
    memcpy(k->b->b, bytes + B_AT, sizeof k->b->b);
    memcpy(k->record->b, bytes + RECORD_AT, sizeof k->record->b);
    k->sign = sign_key_from_seed(seed);
    if (!k->sign)
        return -ENOMEM;
    return pre_scalar_check(k->b->b) < 0 ? PHR_E_FORMAT : 0;
}

int srs_key_load(int dir_fd, struct srs_key *out_key)
{
    scoped(secret_free) uint8_t *bytes = secret_alloc(FILE_BYTES);
    scoped(close_fd) int fd = -1;
    struct srs_key k = { 0 };
    int rc;

    if (!bytes)
        return -ENOMEM;
    rc = fdio_open(dir_fd, file_name, O_RDONLY, 0, &fd);
    if (rc == 0)
        rc = check_mode(fd);
    if (rc == 0)
        rc = fdio_pread_all(fd, bytes, FILE_BYTES, 0);
    if (rc == 0)
        rc = take_apart(bytes, &k);
    if (rc < 0) {
        srs_key_fini(&k);
        return rc;
    }
    *out_key = k;
    return 0;
}

void srs_key_fini(struct srs_key *k)
{
    sign_key_free(k->sign);
    secret_free(k->b);
    secret_free(k->record);
    *k = (struct srs_key){ 0 };
}
