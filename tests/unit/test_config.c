#include "check.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/fdio.h"

static struct config loaded(void)
{
    struct config c;

    CHECK_EQ(config_load(NULL, &c, NULL, 0), 0);
    return c;
}

TEST(config__has_defaults_when_there_is_no_file)
{
    struct config c;

    UNUSED_STATE;
    setenv("PHR_HOME", "/nonexistent/home", 1);
    c = loaded();
    CHECK_EQ(strcmp(c.home, "/nonexistent/home"), 0);
    CHECK_EQ(strcmp(c.path, "/nonexistent/home/phr.conf"), 0);
    CHECK_EQ(c.lease_s, 300);
    CHECK_EQ(c.seal_delay_ms, 2000);
    unsetenv("PHR_HOME");
}

TEST(config__a_named_file_must_be_there)
{
    struct config c;
    char why[200] = "";

    UNUSED_STATE;
    CHECK_EQ(config_load("/nonexistent/phr.conf", &c, why, sizeof why), -ENOENT);
    CHECK(strstr(why, "/nonexistent/phr.conf") != NULL);
}

TEST(config__reads_every_kind_of_key)
{
    struct config c = loaded();

    UNUSED_STATE;
    CHECK_EQ(config_parse("[store]\nurl = s3://b/p?endpoint=http://127.0.0.1:1\n"
                          "[srs]\nlease_s=60\n[phr]\nlog_level = debug\n[vault]\nidle_logout_s = 900\n",
                          &c, NULL, 0),
             0);
    CHECK_EQ(strcmp(c.store_url, "s3://b/p?endpoint=http://127.0.0.1:1"), 0);
    CHECK_EQ(c.lease_s, 60);
    CHECK_EQ(strcmp(c.log_level, "debug"), 0);
    CHECK_EQ(c.idle_logout_s, 900);
}

TEST(config__names_what_it_refuses_and_changes_nothing)
{
    static const char *const bad[] = {
        "[phr]\nhoome=/x\n",        "[srs]\nlease_s=-5\n",     "[srs]\nlease_s=12x\n",
        "[phr]\nlog_level=loud\n",  "[vault]\naudit=maybe\n",  "no section",
        "[srs]\nlease_s=99999999999999999999\n",
    };
    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config c = loaded();
        struct config before = c;
        char why[200] = "";

        CHECK_EQ(config_parse(bad[i], &c, why, sizeof why), PHR_E_CONFIG);
        CHECK_BYTES(&c, &before, sizeof c);
        CHECK(strlen(why) > 0);
    }
}

TEST(config__refuses_a_value_that_does_not_fit)
{
    struct config c = loaded();
    char text[400];

    UNUSED_STATE;
    snprintf(text, sizeof text, "[phr]\nuser=%0150d\n", 1);
    CHECK_EQ(config_parse(text, &c, NULL, 0), PHR_E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(config__has_defaults_when_there_is_no_file),
        UNIT(config__a_named_file_must_be_there),
        UNIT(config__reads_every_kind_of_key),
        UNIT(config__names_what_it_refuses_and_changes_nothing),
        UNIT(config__refuses_a_value_that_does_not_fit),
    };

    return RUN_TESTS(tests);
}
