/* The words of the command line: what a grant's end or a filter's beginning is read as. */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../tools/phr/args.h"

static const struct args_command command = {
    .name = "grant",
    .words = "PATIENT",
    .purpose = "",
    .words_min = 1,
    .words_max = 1,
    .options = ARG_BIT(EXPIRES) | ARG_BIT(TO) | ARG_BIT(WAIT) | ARG_BIT(LIMIT) |
               ARG_BIT(OPTIONS),
    .required = ARG_BIT(TO),
};

static int parse(struct args *out, int argc, const char **argv)
{
    char why[200] = "";
    int rc = args_parse(&command, argc, (char **)(uintptr_t)argv, out, why, sizeof why);

    CHECK((rc < 0) == (why[0] != '\0'));
    return rc;
}
#define PARSE(out, ...)                                                           \
    parse((out), (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), \
          (const char *[]){ __VA_ARGS__ })

TEST(args__are_words_and_options_in_any_order)
{
    struct args a;

    UNUSED_STATE;
    CHECK_EQ(PARSE(&a, "--to", "x", "alice", "--wait"), 0);
    CHECK_EQ(a.word_count, 1);
    assert_string_equal(a.words[0], "alice");
    assert_string_equal(a.text[ARG_TO], "x");
    CHECK(a.is_set[ARG_WAIT] && !a.is_set[ARG_EXPIRES]);
    CHECK_EQ(PARSE(&a, "--to=", "--", "--wait"), 0);
    assert_string_equal(a.words[0], "--wait");
    assert_string_equal(a.text[ARG_TO], "");
    CHECK_EQ(PARSE(&a, "alice", "--to=x", "-o", "ro"), 0);
    assert_string_equal(a.text[ARG_OPTIONS], "ro");
    CHECK_EQ(PARSE(&a, "--help"), 0);
}

TEST(args__are_refused_when_they_make_no_sense)
{
    struct args a;

    UNUSED_STATE;
    CHECK_EQ(PARSE(&a, "--to", "x"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice", "bob", "--to", "x"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice", "--to"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice", "--to", "x", "--wait=1"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice", "--to", "x", "--toe", "y"), PHR_E_USAGE);
    CHECK_EQ(PARSE(&a, "alice", "--to", "x", "--raw"),
             PHR_E_USAGE); /* another command's */
}

static int when(const char *text, bool is_future, uint64_t *out)
{
    struct args a = { 0 };

    a.text[ARG_EXPIRES] = text;
    return args_time(&a, ARG_EXPIRES, is_future, out);
}

TEST(args_time__reads_spans_and_dates)
{
    const uint64_t now = (uint64_t)time(NULL);
    uint64_t s = 7;

    UNUSED_STATE;
    CHECK_EQ(when(NULL, true, &s), 0);
    CHECK_EQ(s, 0);
    CHECK_EQ(when("24h", true, &s), 0);
    CHECK(s >= now + 86400 && s <= now + 86402);
    CHECK_EQ(when("7d", false, &s), 0);
    CHECK(s >= now - 7 * 86400 && s <= now - 7 * 86400 + 2);
    CHECK_EQ(when("1970-01-02", false, &s), 0);
    CHECK_EQ(s, 86400);
    CHECK_EQ(when("1970-01-02", true, &s), 0); /* an end includes its day */
    CHECK_EQ(s, 2 * 86400 - 1);
    CHECK_EQ(when("1970-01-02T00:01:05Z", true, &s), 0);
    CHECK_EQ(s, 86400 + 65);
}

TEST(args_time__refuses_the_rest)
{
    static const char *const bad[] = {
        "",     "h",          "24",          "24x",      "-1h",
        "24hh", "2026-13-01", "2026-02-01x", "tomorrow", "9999999999999d"
    };
    uint64_t s = 7;

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(when(bad[i], true, &s), PHR_E_USAGE);
    CHECK_EQ(when("99999d", false, &s), PHR_E_USAGE); /* before 1970 */
    CHECK_EQ(s, 7);
}

TEST(args_number__has_a_limit)
{
    struct args a = { 0 };
    uint64_t n = 7;

    UNUSED_STATE;
    CHECK_EQ(args_number(&a, ARG_LIMIT, 3, 10, &n), 0);
    CHECK_EQ(n, 3);
    a.text[ARG_LIMIT] = "10";
    CHECK_EQ(args_number(&a, ARG_LIMIT, 3, 10, &n), 0);
    CHECK_EQ(n, 10);
    a.text[ARG_LIMIT] = "11";
    CHECK_EQ(args_number(&a, ARG_LIMIT, 3, 10, &n), PHR_E_USAGE);
    a.text[ARG_LIMIT] = "1e3";
    CHECK_EQ(args_number(&a, ARG_LIMIT, 3, 10, &n), PHR_E_USAGE);
    a.text[ARG_LIMIT] = "+1";
    CHECK_EQ(args_number(&a, ARG_LIMIT, 3, 10, &n), PHR_E_USAGE);
    CHECK_EQ(n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(args__are_words_and_options_in_any_order),
        UNIT(args__are_refused_when_they_make_no_sense),
        UNIT(args_time__reads_spans_and_dates),
        UNIT(args_time__refuses_the_rest),
        UNIT(args_number__has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
