/* The four worked examples of Amazon's own S3 documentation, and what they leave out. */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "crypto/digest.h"
#include "sidecar/sigv4.h"

static const uint64_t example_time = 1369353600; /* 20130524T000000Z */
static const struct sigv4_pair host = { "host", "examplebucket.s3.amazonaws.com" };

static struct credentials *example_credentials(const char *more)
{
    struct credentials *c = NULL;
    char text[400];

    snprintf(text, sizeof text,
             "access_key=AKIAIOSFODNN7EXAMPLE\n"
             "secret_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n%s",
             more);
    CHECK_EQ(credentials_parse(view_text(text), &c), 0);
    return c;
}

static void check_signature(const struct sigv4_request *r, const char *names, const char *hex)
{
    scoped(credentials_free) struct credentials *c = example_credentials("");
    scoped(sigv4_free) struct sigv4 *s = NULL;
    struct sigv4_answer a;
    char want[SIGV4_AUTHORIZATION_BYTES];

    CHECK_EQ(sigv4_new(c, "us-east-1", &s), 0);
    CHECK_EQ(sigv4_sign(s, r, &a), 0);
    snprintf(want, sizeof want,
             "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
             "SignedHeaders=%s,Signature=%s",
             names, hex);
    assert_string_equal(a.authorization, want);
    assert_string_equal(a.date, "20130524T000000Z");
}

TEST(sigv4__get_with_range_is_as_amazon_says)
{
    struct sigv4_pair headers[] = { { "range", "bytes=0-9" }, host };
    struct sigv4_request r = { .method = "GET", .path = "/test.txt", .query = "",
                               .headers = headers, .header_count = 2,
                               .payload = digest_sha256(view_of(NULL, 0)),
                               .time_s = example_time };

    UNUSED_STATE;
    check_signature(&r, "host;range;x-amz-content-sha256;x-amz-date",
                    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(sigv4__put_is_as_amazon_says)
{
    struct sigv4_pair headers[] = { host, { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
                                    { "date", "Fri, 24 May 2013 00:00:00 GMT" } };
    char path[64];
    struct sigv4_request r = { .method = "PUT", .path = path, .query = "", .headers = headers,
                               .header_count = 3,
                               .payload = digest_sha256(view_text("Welcome to Amazon S3.")),
                               .time_s = example_time };

    UNUSED_STATE;
    CHECK_EQ(sigv4_encode_path("/test$file.text", path, sizeof path), 0);
    check_signature(&r, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(sigv4__a_query_without_value_and_a_list_are_as_amazon_says)
{
    struct sigv4_pair lifecycle[] = { { "lifecycle", "" } };
    struct sigv4_pair list[] = { { "prefix", "J" }, { "max-keys", "2" } };
    char query[64];
    struct sigv4_request r = { .method = "GET", .path = "/", .query = query, .headers = &host,
                               .header_count = 1, .payload = digest_sha256(view_of(NULL, 0)),
                               .time_s = example_time };

    UNUSED_STATE;
    CHECK_EQ(sigv4_encode_query(lifecycle, 1, query, sizeof query), 0);
    check_signature(&r, "host;x-amz-content-sha256;x-amz-date",
                    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    CHECK_EQ(sigv4_encode_query(list, 2, query, sizeof query), 0);
    check_signature(&r, "host;x-amz-content-sha256;x-amz-date",
                    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(sigv4__queries_are_sorted_by_name_first_and_encoded_once)
{
    struct sigv4_pair pairs[] = { { "a-b", "1" }, { "a", "z+/=~ \xc3\xa9" }, { "a", "B" } };
    char query[128];

    UNUSED_STATE;
    CHECK_EQ(sigv4_encode_query(pairs, 3, query, sizeof query), 0);
    assert_string_equal(query, "a=B&a=z%2B%2F%3D~%20%C3%A9&a-b=1");
    CHECK_EQ(sigv4_encode_query(pairs, 3, query, 20), PHR_E_LIMIT);
    CHECK_EQ(sigv4_encode_query(pairs, 0, query, sizeof query), 0);
    assert_string_equal(query, "");
    CHECK_EQ(sigv4_encode_path("/b/a b/../c%", query, sizeof query), 0);
    assert_string_equal(query, "/b/a%20b/../c%25");
    CHECK_EQ(sigv4_encode_path("abcdef", query, 6), PHR_E_LIMIT);
}

TEST(sigv4__header_values_are_trimmed_and_every_part_counts)
{
    scoped(credentials_free) struct credentials *c = example_credentials("");
    scoped(sigv4_free) struct sigv4 *s = NULL;
    struct sigv4_pair headers[] = { host, { "x-amz-meta-a", "  one   two " } };
    struct sigv4_request r = { .method = "GET", .path = "/k", .query = "", .headers = headers,
                               .header_count = 2, .time_s = example_time };
    struct sigv4_answer first;
    struct sigv4_answer a;

    UNUSED_STATE;
    CHECK_EQ(sigv4_new(c, "us-east-1", &s), 0);
    CHECK_EQ(sigv4_sign(s, &r, &first), 0);
    headers[1].value = "one two";
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    assert_string_equal(a.authorization, first.authorization);
    headers[1].value = "one twp";
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    assert_string_not_equal(a.authorization, first.authorization);
    headers[1].value = "one two";
    r.path = "/l";
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    assert_string_not_equal(a.authorization, first.authorization);
    r.path = "/k";
    r.time_s += 86400; /* another day, another key */
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    assert_string_not_equal(a.authorization, first.authorization);
    r.time_s -= 86400;
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    assert_string_equal(a.authorization, first.authorization);
}

TEST(sigv4__a_session_token_is_signed)
{
    scoped(credentials_free) struct credentials *c = example_credentials("session_token=abc\n");
    scoped(sigv4_free) struct sigv4 *s = NULL;
    struct sigv4_request r = { .method = "GET", .path = "/", .query = "", .headers = &host,
                               .header_count = 1, .time_s = example_time };
    struct sigv4_answer a;

    UNUSED_STATE;
    CHECK_EQ(sigv4_new(c, "eu-central-1", &s), 0);
    CHECK_EQ(sigv4_sign(s, &r, &a), 0);
    CHECK(strstr(a.authorization,
                 "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
    CHECK(strstr(a.authorization, "/20130524/eu-central-1/s3/aws4_request,"));
}

TEST(credentials__are_refused_when_a_line_is_strange_missing_or_twice)
{
    static const char *const bad[] = {
        "", "access_key=a\n", "secret_key=b\n", "access_key=a\nsecret_key=b\nnonsense\n",
        "access_key=a\naccess_key=b\nsecret_key=c\n", "access_key=a\nsecret_key=b c\n",
        "access_key=a\nsecret_key=\n", "access_key=a\nsecret_key=b\nregion=x\n",
        "access_key=a\nsecret_key=b\nsecret_key=b\n", "=\n"
    };
    struct credentials *c = NULL;
    size_t used = secret_used_bytes();

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(credentials_parse(view_text(bad[i]), &c), PHR_E_FORMAT);
    CHECK_EQ(secret_used_bytes(), used);
    CHECK_EQ(credentials_parse(view_text("# c\r\n access_key = a \r\n\nsecret_key=b=="), &c), 0);
    assert_string_equal(c->access_key, "a");
    assert_string_equal(c->secret_key, "b==");
    CHECK(c->session_token == NULL);
    credentials_free(c);
    CHECK_EQ(secret_used_bytes(), used);
}

TEST(credentials__file_must_be_closed_to_others)
{
    char path[] = "/tmp/phr-cred-XXXXXX";
    int fd = mkstemp(path);
    struct credentials *c = NULL;
    char why[160];

    UNUSED_STATE;
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "access_key=a\nsecret_key=b\n", 26), 26);
    CHECK_EQ(credentials_load(path, &c, why, sizeof why), 0);
    credentials_free(c);
    CHECK_EQ(chmod(path, 0640), 0);
    CHECK_EQ(credentials_load(path, &c, why, sizeof why), PHR_E_CONFIG);
    CHECK(strstr(why, "chmod 600") != NULL);
    CHECK_EQ(chmod(path, 0600), 0);
    CHECK_EQ(ftruncate(fd, 3), 0);
    CHECK_EQ(credentials_load(path, &c, why, sizeof why), PHR_E_CONFIG);
    close(fd);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(credentials_load(path, &c, why, sizeof why), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(sigv4__get_with_range_is_as_amazon_says),
        UNIT(sigv4__put_is_as_amazon_says),
        UNIT(sigv4__a_query_without_value_and_a_list_are_as_amazon_says),
        UNIT(sigv4__queries_are_sorted_by_name_first_and_encoded_once),
        UNIT(sigv4__header_values_are_trimmed_and_every_part_counts),
        UNIT(sigv4__a_session_token_is_signed),
        UNIT(credentials__are_refused_when_a_line_is_strange_missing_or_twice),
        UNIT(credentials__file_must_be_closed_to_others),
    };

    return RUN_TESTS(tests);
}
