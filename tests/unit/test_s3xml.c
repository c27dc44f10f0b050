/* What S3 servers send, what hostile ones might, and the text forms beside it (URL, keys). */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "sidecar/objstore.h"
#include "sidecar/s3url.h"
#include "sidecar/s3xml.h"
#include "sidecar/storekey.h"

TEST(s3xml__reads_a_page_as_ceph_sends_it)
{
    static const char xml[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
        "<Prefix>a</Prefix><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>"
        "<Contents><Key>a&amp;b</Key><Size>5</Size><Owner><ID>x</ID><Key>no</Key></Owner></Contents>"
        "<Contents><Key>c</Key><ETag>&quot;5d&quot;</ETag></Contents>"
        "<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"
        "<NextContinuationToken>t+/=~</NextContinuationToken></ListBucketResult>";
    struct s3xml_page page;

    UNUSED_STATE;
    CHECK_EQ(s3xml_parse_list(view_text(xml), &page), 0);
    CHECK_EQ(page.count, 2);
    assert_string_equal(page.keys[0], "a&b");
    assert_string_equal(page.keys[1], "c");
    CHECK(page.is_truncated);
    assert_string_equal(page.token, "t+/=~");
    s3xml_page_fini(&page);
}

TEST(s3xml__refuses_what_is_no_whole_page)
{
    static const char *const bad[] = {
        "", "x", "<ListBucketResult>", "<Other></Other>", "<Error><Code>x</Code></Error>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key></Key></Contents></ListBucketResult>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><ListBucketResult></ListBucketResult>",
        "<!DOCTYPE ListBucketResult SYSTEM \"file:///etc/passwd\"><ListBucketResult></ListBucketResult>",
        "<ListBucketResult><a><b><c><d><e><f><g><h></h></g></f></e></d></c></b></a></ListBucketResult>",
        "<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>"
    };
    struct s3xml_page page;

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(s3xml_parse_list(view_text(bad[i]), &page), PHR_E_FORMAT);
}

TEST(s3xml__refuses_a_thousand_and_one_keys_and_long_ones)
{
    static char xml[200000];
    struct s3xml_page page;
    size_t n;

    UNUSED_STATE;
    for (unsigned count = 1000; count <= 1001; count++) {
        n = (size_t)sprintf(xml, "<ListBucketResult>");
        for (unsigned i = 0; i < count; i++)
            n += (size_t)sprintf(xml + n, "<Contents><Key>%u</Key></Contents>", i);
        sprintf(xml + n, "</ListBucketResult>");
        CHECK_EQ(s3xml_parse_list(view_text(xml), &page), count == 1000 ? 0 : PHR_E_FORMAT);
        if (count == 1000)
            s3xml_page_fini(&page);
    }
    n = (size_t)sprintf(xml, "<ListBucketResult><Contents><Key>");
    memset(xml + n, 'k', S3XML_KEY_BYTES_MAX + 1);
    sprintf(xml + n + S3XML_KEY_BYTES_MAX + 1, "</Key></Contents></ListBucketResult>");
    CHECK_EQ(s3xml_parse_list(view_text(xml), &page), PHR_E_FORMAT);
}

TEST(s3xml__an_error_becomes_plain_text)
{
    struct s3xml_error e;

    UNUSED_STATE;
    CHECK_EQ(s3xml_parse_error(view_text("<Error><Code>No Such\nKey</Code><Message>a\x1b[31m\xc3\xa9"
                                         "b</Message><Message2/></Error>"),
                               &e),
             PHR_E_FORMAT); /* control characters are no XML */
    CHECK_EQ(s3xml_parse_error(view_text("<Error><Code>No Such\nKey</Code><Message>a \xc3\xa9 b"
                                         "</Message><BucketName>secret</BucketName></Error>"),
                               &e),
             0);
    assert_string_equal(e.code, "NoSuchKey");
    assert_string_equal(e.message, "a  b");
    CHECK_EQ(s3xml_parse_error(view_text("<html><Code>x</Code></html>"), &e), PHR_E_FORMAT);
    CHECK_EQ(s3xml_parse_error(view_text("<Error/>"), &e), 0);
    assert_string_equal(e.code, "");
}

TEST(s3url__takes_what_is_documented)
{
    struct s3url u;
    char why[200] = "";

    UNUSED_STATE;
    CHECK_EQ(s3url_parse("s3://my-bucket/a/b/?endpoint=https://s3.example.org:443&region=eu-west-3", &u,
                         why, sizeof why),
             0);
    assert_string_equal(u.bucket, "my-bucket");
    assert_string_equal(u.prefix, "a/b/");
    assert_string_equal(u.endpoint, "https://s3.example.org:443");
    assert_string_equal(u.host, "s3.example.org");
    assert_string_equal(u.region, "eu-west-3");
    CHECK(u.is_tls);
    CHECK_EQ(s3url_parse("s3://bucket?endpoint=http://127.0.0.1:7480", &u, why, sizeof why), 0);
    assert_string_equal(u.prefix, "");
    assert_string_equal(u.host, "127.0.0.1:7480");
    assert_string_equal(u.region, "us-east-1");
    CHECK_EQ(s3url_parse("s3://bucket/?endpoint=http://[::1]:80/", &u, why, sizeof why), 0);
    assert_string_equal(u.host, "[::1]");
    CHECK_EQ(s3url_parse("s3://bucket?endpoint=http://nas:9000&insecure=1", &u, why, sizeof why), 0);
}

TEST(s3url__refuses_the_rest_in_words)
{
    static const char *const bad[] = {
        "http://bucket", "s3://", "s3://ab?endpoint=https://h", "s3://Bucket?endpoint=https://h",
        "s3://bucket", "s3://bucket/../x?endpoint=https://h", "s3://bucket/A?endpoint=https://h",
        "s3://bucket?endpoint=ftp://h", "s3://bucket?endpoint=https://", "s3://bucket?endpoint=https://h/path",
        "s3://bucket?endpoint=https://user@h", "s3://bucket?endpoint=http://nas:9000",
        "s3://bucket?endpoint=http://127.0.0.1.example.org", "s3://bucket?endpoint=http://localhost.evil",
        "s3://bucket?endpoint=https://h&secret_key=x", "s3://bucket?endpoint=https://h&region=",
        "s3://bucket?endpoint=https://h&insecure=yes", "s3://bucket?endpoint"
    };

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct s3url u;
        char why[200] = "";

        CHECK_EQ(s3url_parse(bad[i], &u, why, sizeof why), PHR_E_CONFIG);
        CHECK(why[0] != '\0');
    }
}

TEST(storekey__sorts_as_numbers_do_and_comes_back)
{
    struct id16 patient = { { 0xab, 1 } };
    struct id16 p;
    uint64_t seq = 0;
    char a[STOREKEY_BYTES];
    char b[STOREKEY_BYTES];

    UNUSED_STATE;
    storekey_entry(&patient, 99, a);
    storekey_entry(&patient, 100, b);
    CHECK(strcmp(a, b) < 0);
    CHECK(objstore_is_key(a));
    storekey_entry(&patient, UINT64_MAX, b);
    CHECK_EQ(storekey_parse_entry(b, &p, &seq), 0);
    CHECK(seq == UINT64_MAX);
    CHECK_BYTES(p.b, patient.b, 16);
    b[strlen(b) - 20] = '9'; /* beyond 64 bits */
    CHECK_EQ(storekey_parse_entry(b, &p, &seq), PHR_E_FORMAT);
    storekey_object(&patient, &(struct digest){ { 1 } }, b);
    CHECK(objstore_is_key(b));
    CHECK_EQ(storekey_parse_entry(b, &p, &seq), PHR_E_FORMAT);
    CHECK(!objstore_is_key("a//b"));
    CHECK(!objstore_is_key("../a"));
    CHECK(!objstore_is_key("a/."));
    CHECK(!objstore_is_key("/a"));
    CHECK(!objstore_is_key("a/"));
    CHECK(!objstore_is_key(""));
    CHECK(!objstore_is_key("A"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(s3xml__reads_a_page_as_ceph_sends_it),
        UNIT(s3xml__refuses_what_is_no_whole_page),
        UNIT(s3xml__refuses_a_thousand_and_one_keys_and_long_ones),
        UNIT(s3xml__an_error_becomes_plain_text),
        UNIT(s3url__takes_what_is_documented),
        UNIT(s3url__refuses_the_rest_in_words),
        UNIT(storekey__sorts_as_numbers_do_and_comes_back),
    };

    return RUN_TESTS(tests);
}
