#include "format_check.h"

#include "format/change.h"

#define DECODER(name, type, fn)        \
    static int name(struct view bytes) \
    {                                  \
        type v;                        \
                                       \
        return fn(bytes, &v);          \
    }

DECODER(decode_class_record, struct class_record, class_record_decode)
DECODER(decode_revoke, struct revoke, revoke_decode)
DECODER(decode_epoch, struct epoch_change, epoch_decode)
DECODER(decode_header_change, struct header_change, header_change_decode)
DECODER(decode_remove, struct remove_change, remove_decode)
DECODER(decode_seal, struct seal_change, seal_decode)
DECODER(decode_class_ctx, struct class_ctx, class_ctx_body_decode)
DECODER(decode_snapshot_ref, struct digest, snapshot_ref_decode)

TEST(change__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("class_record", decode_class_record, 0);
    check_cuts("revoke", decode_revoke, 0);
    check_cuts("epoch", decode_epoch, 0);
    check_cuts("header_change", decode_header_change, 0);
    check_cuts("remove", decode_remove, 0);
    check_cuts("seal", decode_seal, 0);
}

TEST(change__of_fixed_size_takes_that_size_only)
{
    static const uint8_t bytes[64];

    UNUSED_STATE;
    for (size_t n = 0; n < sizeof bytes; n++) {
        CHECK_EQ(decode_class_ctx(view_of(bytes, n)),
                 n == CLASS_CTX_BYTES ? 0 : PHR_E_FORMAT);
        CHECK_EQ(decode_snapshot_ref(view_of(bytes, n)), n == 32 ? 0 : PHR_E_FORMAT);
    }
}

TEST(change__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("revoke", decode_revoke, 16, 0);
    check_byte("revoke", decode_revoke, 16, REVOKE_REPLACED + 1);
    check_byte("class_record", decode_class_record, 72, 175);         /* sealed keys */
    check_byte("class_record", decode_class_record, 72 + 4 + 176, 1); /* link */
    check_byte("header_change", decode_header_change, 0, 1);          /* another file */
    check_byte("header_change", decode_header_change, 16, 2); /* another generation */
    check_byte("seal", decode_seal, 72, 3);                   /* more segments than fit */
    check_byte("seal", decode_seal, 71, 1);                   /* beyond 16 TiB */
    check_byte("seal", decode_seal, 72, 0);                   /* none, but a root */
}

TEST(class_record__comes_back_with_link_and_wrap)
{
    static const uint8_t zeros[CLASS_SEALED_BYTES];
    scoped(writer_fini) struct writer w = { 0 };
    struct class_record in = {
        .a = sample_public("a"),
        .e_ctr = 166,
        .sealed = { zeros, CLASS_SEALED_BYTES },
        .link = { zeros, CLASS_LINK_BYTES },
        .w = { zeros, CLASS_WRAP_BYTES },
    };
    struct class_record c;

    UNUSED_STATE;
    writer_init(&w);
    class_record_encode(&in, &w);
    CHECK_EQ(class_record_decode(writer_done(&w), &c), 0);
    CHECK_BYTES(c.a.b, in.a.b, 32);
    CHECK(c.e_ctr == 166 && c.link.n == CLASS_LINK_BYTES && c.w.n == CLASS_WRAP_BYTES);
}

TEST(seal__of_an_empty_file_has_no_object)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct seal_change in = { .content_version = 1,
                              .manifest_root = digest_sha256(view_of(NULL, 0)) };
    struct seal_change s;

    UNUSED_STATE;
    writer_init(&w);
    seal_encode(&in, &w);
    CHECK_EQ(seal_decode(writer_done(&w), &s), 0);
    CHECK(s.size == 0 && s.segment_count == 0);
    w.p[w.n - 1] = 1; /* an object after all */
    CHECK_EQ(seal_decode(writer_done(&w), &s), PHR_E_FORMAT);
}

TEST(seal__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct seal_change s;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("seal", &w), 0);
    CHECK_EQ(w.n, 144);
    CHECK_EQ(seal_decode(writer_done(&w), &s), 0);
    CHECK(s.content_version == 2 && s.base_version == 1 && s.size == 5000);
    CHECK(s.segment_count == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(change__refuses_every_cut_and_one_byte_more),
        UNIT(change__of_fixed_size_takes_that_size_only),
        UNIT(change__refuses_what_is_out_of_range),
        UNIT(class_record__comes_back_with_link_and_wrap),
        UNIT(seal__of_an_empty_file_has_no_object),
        UNIT(seal__comes_back_as_it_was),
    };

    return RUN_TESTS(tests);
}
