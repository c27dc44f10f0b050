/* Headers made ahead: fresh each, for the compartment that asked, gone when forgotten. */
#include "tiny_realm.h"

#include <time.h>

#include "vault/pool.h"

static struct key_set *take_soon(struct pool *p, const struct tiny_class *c)
{
    struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
    struct key_set *keys = NULL;

    for (int i = 0; i < 500 && !keys; i++) {
        keys = pool_take(p, &c->ctx, &c->a_pub);
        if (!keys)
            nanosleep(&moment, NULL);
    }
    assert_non_null(keys);
    return keys;
}

TEST(pool__makes_headers_that_open_and_never_twice_the_same)
{
    struct tiny_class labs = tiny_class_new(&(struct class_ctx){ random_id(), random_id(), 3 });
    struct symkey *kek = secret_alloc(sizeof *kek);
    struct file_key opened[FK_COUNT_MAX];
    struct key_set *a;
    struct key_set *b;
    struct pool *p;
    struct header h;
    size_t count;
    UNUSED_STATE;

    CHECK_EQ(pool_open(&p), 0);
    assert_null(pool_take(p, &labs.ctx, &labs.a_pub));
    a = take_soon(p, &labs);
    b = take_soon(p, &labs);
    CHECK(!id_equal(&a->ctx.file, &b->ctx.file));
    CHECK(class_ctx_equal(&a->ctx.class_ctx, &labs.ctx));
    CHECK_EQ(header_decode(view_of(a->header, a->header_bytes), &h), 0);
    CHECK_EQ(pre_owner_decaps(labs.a, &h.ctx, &h.capsule, &h.commit, kek), 0);
    CHECK_EQ(header_open_sealed(&h, kek, opened, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_BYTES(opened[0].key->b, a->keys[0].key->b, 32);
    file_keys_free(opened, count);
    key_set_release(a);
    key_set_release(b);
    secret_free(kek);
    pool_close(p);
    tiny_class_fini(&labs);
}

TEST(pool__forgets_and_keeps_epochs_apart)
{
    size_t before = secret_used_bytes();
    struct tiny_class old = tiny_class_new(&(struct class_ctx){ random_id(), random_id(), 1 });
    struct tiny_class next = tiny_class_new(&(struct class_ctx){ old.ctx.patient, old.ctx.class_id, 2 });
    struct key_set *keys;
    struct pool *p;
    UNUSED_STATE;

    CHECK_EQ(pool_open(&p), 0);
    key_set_release(take_soon(p, &old));
    keys = take_soon(p, &next);
    CHECK_EQ(keys->ctx.class_ctx.epoch, 2);
    key_set_release(keys);
    pool_forget(p);
    pool_close(p);
    tiny_class_fini(&old);
    tiny_class_fini(&next);
    CHECK_EQ(secret_used_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(pool__makes_headers_that_open_and_never_twice_the_same),
        UNIT(pool__forgets_and_keeps_epochs_apart),
    };

    return RUN_TESTS(tests);
}
