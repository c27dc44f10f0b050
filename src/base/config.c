#include "base/config.h"

#include <ini.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/fdio.h"

enum { CONFIG_BYTES_MAX = 64 * 1024 };

enum kind { KIND_TEXT, KIND_NUMBER };

static const struct key {
    const char *section;
    const char *name;
    enum kind kind;
    size_t offset;
    size_t room; /* text: bytes with the NUL */
} keys[] = {
#define TEXT(s, n, f) { s, n, KIND_TEXT, offsetof(struct config, f), sizeof((struct config *)0)->f }
#define NUMBER(s, n, f) { s, n, KIND_NUMBER, offsetof(struct config, f), 0 }
    TEXT("phr", "home", home),
    TEXT("phr", "run", run),
    TEXT("phr", "user", user),
    TEXT("phr", "log_level", log_level),
    TEXT("phrd", "user", sidecar_user),
    TEXT("store", "url", store_url),
    TEXT("store", "credentials", store_credentials),
    TEXT("store", "ca_file", store_ca_file),
    NUMBER("srs", "lease_s", lease_s),
    NUMBER("vault", "seal_delay_ms", seal_delay_ms),
    NUMBER("vault", "temp_age_ms", temp_age_ms),
    NUMBER("vault", "idle_logout_s", idle_logout_s),
    NUMBER("vault", "floor_bytes", floor_bytes),
    NUMBER("vault", "store_bytes_max", store_bytes_max),
    TEXT("vault", "audit", audit),
#undef TEXT
#undef NUMBER
};

struct parse {
    struct config *config;
    const char *bad; /* what is wrong with the line that stopped us */
    char section[64];
    char name[64];
};

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct parse *parse = user;
    uint64_t number = 0;
    int end = 0;

    snprintf(parse->section, sizeof parse->section, "%s", section);
    snprintf(parse->name, sizeof parse->name, "%s", name);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct key *k = &keys[i];
        uint8_t *field = (uint8_t *)parse->config + k->offset;

        if (strcmp(section, k->section) != 0 || strcmp(name, k->name) != 0)
            continue;
        if (k->kind == KIND_TEXT) {
            if (strlen(value) >= k->room) {
                parse->bad = "value too long";
                return 0;
            }
            memcpy(field, value, strlen(value) + 1);
            return 1;
        }
        if (value[0] < '0' || value[0] > '9' || strlen(value) > 18 ||
            sscanf(value, "%" SCNu64 "%n", &number, &end) != 1 || value[end] != '\0') {
            parse->bad = "not a number";
            return 0;
        }
        memcpy(field, &number, sizeof number);
        return 1;
    }
    parse->bad = "unknown key";
    return 0;
}

static bool is_one_of(const char *value, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(value, *words) == 0)
            return true;
    }
    return false;
}

int config_parse(const char *text, struct config *io_config, char *out_why, size_t why_bytes)
{
    static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
    static const char *const audits[] = { "spool", "sync", NULL };
    struct config config = *io_config;
    struct parse parse = { .config = &config };
    int line = ini_parse_string(text, on_pair, &parse);

    if (line == 0 && !is_one_of(config.log_level, levels)) {
        parse.bad = "log_level is not error, warn, info or debug";
        line = -1;
    }
    if (line == 0 && !is_one_of(config.audit, audits)) {
        parse.bad = "audit is not spool or sync";
        line = -1;
    }
    if (line != 0) {
        if (out_why && why_bytes > 0)
            snprintf(out_why, why_bytes, "%.120s line %d: [%s] %s: %s", io_config->path, line,
                     parse.section, parse.name, parse.bad ? parse.bad : "not INI");
        return PHR_E_CONFIG;
    }
    *io_config = config;
    return 0;
}

static int set_text(char *to, size_t room, const char *value)
{
    if (strlen(value) >= room)
        return PHR_E_LIMIT;
    memcpy(to, value, strlen(value) + 1);
    return 0;
}

static int fill_defaults(const char *path, struct config *c)
{
    const char *home = getenv("PHR_HOME");
    const char *run = getenv("PHR_RUN");
    const char *conf = getenv("PHR_CONFIG");
    int rc = set_text(c->home, sizeof c->home, home ? home : "/var/lib/phr");

    if (rc == 0)
        rc = set_text(c->run, sizeof c->run, run ? run : "/run/phr");
    if (rc == 0 && path)
        rc = set_text(c->path, sizeof c->path, path);
    else if (rc == 0 && conf)
        rc = set_text(c->path, sizeof c->path, conf);
    else if (rc == 0 && home)
        rc = config_home_path(c, "phr.conf", c->path, sizeof c->path);
    else if (rc == 0)
        rc = set_text(c->path, sizeof c->path, "/etc/phr/phr.conf");
    if (rc < 0)
        return rc;
    memcpy(c->log_level, "info", sizeof "info");
    memcpy(c->audit, "spool", sizeof "spool");
    c->lease_s = 300;
    c->seal_delay_ms = 2000;
    c->temp_age_ms = 5000;
    c->floor_bytes = UINT64_C(256) << 20;
    return 0;
}

int config_load(const char *path, struct config *out_config, char *out_why, size_t why_bytes)
{
    scoped(free) struct config *c = calloc(1, sizeof *c);
    scoped(free) uint8_t *text = NULL;
    size_t n = 0;
    int rc = c ? fill_defaults(path, c) : -ENOMEM;

    if (rc < 0)
        return rc;
    rc = fdio_load(AT_FDCWD, c->path, CONFIG_BYTES_MAX, &text, &n);
    if (rc == 0 && strlen((char *)text) != n)
        rc = PHR_E_CONFIG;
    if (rc == 0)
        rc = config_parse((char *)text, c, out_why, why_bytes);
    else if (rc == -ENOENT && !path)
        rc = 0; /* the defaults */
    else if (out_why && why_bytes > 0)
        snprintf(out_why, why_bytes, "%.150s: %s", c->path, phr_err_text(rc));
    if (rc < 0)
        return rc;
    *out_config = *c;
    return 0;
}

static int join(const char *dir, const char *rel, char *out, size_t n)
{
    int len = snprintf(out, n, "%s/%s", dir, rel);

    return len < 0 || (size_t)len >= n ? PHR_E_LIMIT : 0;
}

int config_home_path(const struct config *c, const char *rel, char *out, size_t n)
{
    return join(c->home, rel, out, n);
}

int config_run_path(const struct config *c, const char *rel, char *out, size_t n)
{
    return join(c->run, rel, out, n);
}
