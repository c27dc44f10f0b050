#include "format_check.h"

#include "format/spool_record.h"

enum { RECORDS = 3 };

struct spool {
    struct symkey key;
    struct id16 host;
    struct writer bytes;
    size_t at[RECORDS + 1]; /* where each record begins */
    struct digest prev[RECORDS];
};

static void spool_make(struct spool *s)
{
    static const char *const events[RECORDS] = { "first", "second", "third" };

    *s = (struct spool){ .key = sample_key("spool"), .host = selftest_inputs_id("host") };
    writer_init(&s->bytes);
    for (size_t i = 0; i < RECORDS; i++) {
        s->at[i] = s->bytes.n;
        if (i > 0)
            s->prev[i] = digest_sha256(
                view_of(s->bytes.p + s->at[i - 1], s->at[i] - s->at[i - 1]));
        CHECK_EQ(spool_record_seal(&s->key, &s->host, i + 1, &s->prev[i],
                                   view_text(events[i]), &s->bytes),
                 0);
    }
    s->at[RECORDS] = s->bytes.n;
}

/* Opens the record at index `from` as if it were number `as`. */
static int open_as(const struct spool *s, size_t from, size_t as, const char *want)
{
    scoped(writer_fini) struct writer plain = { 0 };
    size_t used = 0;
    int rc;

    writer_init(&plain);
    rc = spool_record_open(&s->key, &s->host, as + 1, &s->prev[as],
                           view_of(s->bytes.p + s->at[from], s->bytes.n - s->at[from]),
                           &used, &plain);
    if (rc == 0) {
        CHECK_EQ(used, s->at[from + 1] - s->at[from]);
        CHECK(view_equal(writer_done(&plain), view_text(want)));
    } else {
        CHECK_EQ(plain.n, 0);
    }
    return rc;
}

TEST(spool_record__opens_in_order_only)
{
    struct spool s;

    UNUSED_STATE;
    spool_make(&s);
    CHECK_EQ(open_as(&s, 0, 0, "first"), 0);
    CHECK_EQ(open_as(&s, 1, 1, "second"), 0);
    CHECK_EQ(open_as(&s, 2, 2, "third"), 0);
    CHECK_EQ(open_as(&s, 2, 1, ""), PHR_E_SEAL); /* one dropped */
    CHECK_EQ(open_as(&s, 0, 1, ""), PHR_E_SEAL); /* one replayed */
    s.prev[2].b[0] ^= 1;                         /* another history */
    CHECK_EQ(open_as(&s, 2, 2, ""), PHR_E_SEAL);
    writer_fini(&s.bytes);
}

TEST(spool_record__does_not_open_for_another_host_or_when_flipped)
{
    struct spool s;

    UNUSED_STATE;
    spool_make(&s);
    s.host.b[0] ^= 1;
    CHECK_EQ(open_as(&s, 0, 0, ""), PHR_E_SEAL);
    s.host.b[0] ^= 1;
    for (size_t at = 0; at < s.at[1]; at++) {
        int rc;

        s.bytes.p[at] ^= 1;
        rc = open_as(&s, 0, 0, "");
        CHECK(rc == PHR_E_SEAL || rc == PHR_E_FORMAT);
        s.bytes.p[at] ^= 1;
    }
    writer_fini(&s.bytes);
}

static int decode(struct view bytes)
{
    scoped(writer_fini) struct writer plain = { 0 };
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct digest prev = { { 0 } };
    size_t used;

    writer_init(&plain);
    return spool_record_open(&k, &host, 1, &prev, bytes, &used, &plain);
}

TEST(spool_record__refuses_every_cut_and_absurd_lengths)
{
    scoped(writer_fini) struct writer w = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("spool_record", &w), 0);
    CHECK_EQ(decode(writer_done(&w)), 0);
    for (size_t n = 0; n < w.n; n++) /* the torn tail of a file after a power cut */
        CHECK_EQ(decode_exact(decode, writer_done(&w), n), PHR_E_FORMAT);
    check_byte("spool_record", decode, 3, 0xff);
    check_byte("spool_record", decode, 0, 47);
}

TEST(spool_record__takes_no_event_beyond_its_limit)
{
    static const uint8_t many[EVENT_BYTES_MAX + 1];
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct digest prev = { { 0 } };
    struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(spool_record_seal(&k, &host, 1, &prev, view_of(many, sizeof many), &w),
             PHR_E_LIMIT);
    CHECK_EQ(spool_record_seal(&k, &host, 1, &prev, view_of(many, EVENT_BYTES_MAX), &w),
             0);
    CHECK_EQ(decode(writer_done(&w)), 0);
    writer_fini(&w);
}

TEST(spool_header__opens_with_the_srs_key_only)
{
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct point srs = sample_public("b");
    uint8_t bytes[SPOOL_HEADER_BYTES];
    struct symkey opened;
    struct id16 whose;
    uint64_t no;

    UNUSED_STATE;
    CHECK_EQ(spool_header_encode(&host, SPOOL_NO_TABLE | 1, &srs, &k, bytes), 0);
    CHECK_EQ(spool_header_open(view_of(bytes, sizeof bytes), sample_scalar("b"), &whose,
                               &no, &opened),
             0);
    CHECK(no == (SPOOL_NO_TABLE | 1) && id_equal(&whose, &host));
    CHECK_BYTES(opened.b, k.b, 32);
    CHECK_EQ(spool_header_open(view_of(bytes, sizeof bytes), sample_scalar("a"), &whose,
                               &no, &opened),
             PHR_E_SEAL);
    CHECK_EQ(spool_header_open(view_of(bytes, sizeof bytes - 1), sample_scalar("b"),
                               &whose, &no, &opened),
             PHR_E_FORMAT);
    for (size_t at = 0; at < sizeof bytes; at++) { /* host and number are bound too */
        bytes[at] ^= 1;
        CHECK_EQ(spool_header_open(view_of(bytes, sizeof bytes), sample_scalar("b"),
                                   &whose, &no, &opened),
                 PHR_E_SEAL);
        bytes[at] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(spool_record__opens_in_order_only),
        UNIT(spool_record__does_not_open_for_another_host_or_when_flipped),
        UNIT(spool_record__refuses_every_cut_and_absurd_lengths),
        UNIT(spool_record__takes_no_event_beyond_its_limit),
        UNIT(spool_header__opens_with_the_srs_key_only),
    };

    return RUN_TESTS(tests);
}
