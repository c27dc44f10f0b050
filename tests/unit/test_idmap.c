#include "check.h"

#include <string.h>

#include "base/cursor.h"
#include "client/idmap.h"

/* Ids that all want the same slot, and some that do not. */
static struct id16 id_of(uint64_t n)
{
    struct id16 id = { 0 };

    put_le64(id.b, n % 7 * 1024);
    put_le64(id.b + 8, n);
    return id;
}

TEST(idmap__finds_each_id_where_it_was_put_last)
{
    struct idmap m = { 0 };

    UNUSED_STATE;
    CHECK_EQ(idmap_get(&m, &(struct id16){ 0 }), (uint32_t)IDMAP_NONE);
    for (uint32_t n = 0; n < 2000; n++) {
        const struct id16 id = id_of(n);

        CHECK_EQ(idmap_get(&m, &id), (uint32_t)IDMAP_NONE);
        CHECK_EQ(idmap_put(&m, &id, n), 0);
    }
    for (uint32_t n = 0; n < 2000; n += 3) {
        const struct id16 id = id_of(n);

        CHECK_EQ(idmap_put(&m, &id, n + 5000), 0);
    }
    for (uint32_t n = 0; n < 2000; n++) {
        const struct id16 id = id_of(n);

        CHECK_EQ(idmap_get(&m, &id), n % 3 == 0 ? n + 5000 : n);
    }
    idmap_fini(&m);
    CHECK_EQ(m.room, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { UNIT(idmap__finds_each_id_where_it_was_put_last) };

    return RUN_TESTS(tests);
}
