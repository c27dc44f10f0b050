#include "sidecar/s3url.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "sidecar/objstore.h"

static int fail(char *out_why, size_t why_bytes, const char *why)
{
    snprintf(out_why, why_bytes, "[store] url: %s", why);
    return PHR_E_CONFIG;
}

static bool copy(char *to, size_t room, const char *from, size_t n)
{
    if (n >= room)
        return false;
    memcpy(to, from, n);
    to[n] = '\0';
    return true;
}

static bool has_only(const char *text, const char *allowed)
{
    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

static bool is_loopback(const char *host)
{
    static const char *const names[] = { "localhost", "127.", "[::1]" };
    size_t n = strcspn(host, "]");

    if (host[n] == '\0')
        n = strcspn(host, ":");
    else
        n++;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t want = strlen(names[i]);

        if (strncmp(host, names[i], want) == 0 &&
            (n == want || (i == 1 && strspn(host, DIGITS ".") == n)))
            return true;
    }
    return false;
}

/* https://host[:port], nothing behind it. */
static int take_endpoint(const char *text, struct s3url *u, char *out_why, size_t why_bytes)
{
    const char *host = text;
    const char *standard;
    size_t n;

    u->is_tls = strncmp(text, "https://", 8) == 0;
    if (!u->is_tls && strncmp(text, "http://", 7) != 0)
        return fail(out_why, why_bytes, "endpoint= must begin with https:// (or http://)");
    host += u->is_tls ? 8 : 7;
    n = strlen(host);
    if (n > 0 && host[n - 1] == '/')
        n--;
    if (!copy(u->host, sizeof u->host, host, n) ||
        !has_only(u->host, LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-.:[]"))
        return fail(out_why, why_bytes, "endpoint= is not scheme://host:port");
    snprintf(u->endpoint, sizeof u->endpoint, "%s://%s", u->is_tls ? "https" : "http", u->host);
    /* libcurl leaves the scheme's own port out of Host, and Host is signed. */
    standard = u->is_tls ? ":443" : ":80";
    n = strlen(u->host);
    if (n > strlen(standard) && strcmp(u->host + n - strlen(standard), standard) == 0)
        u->host[n - strlen(standard)] = '\0';
    return 0;
}

static int take_option(const char *name, size_t n, const char *value, struct s3url *u,
                       bool *out_insecure, char *out_why, size_t why_bytes)
{
    if (n == 8 && strncmp(name, "endpoint", n) == 0)
        return take_endpoint(value, u, out_why, why_bytes);
    if (n == 6 && strncmp(name, "region", n) == 0 && has_only(value, LOWER DIGITS "-") &&
        copy(u->region, sizeof u->region, value, strlen(value)))
        return 0;
    if (n == 8 && strncmp(name, "insecure", n) == 0 && strcmp(value, "1") == 0) {
        *out_insecure = true;
        return 0;
    }
    return fail(out_why, why_bytes, "known options are endpoint=, region= and insecure=1");
}

static int take_options(const char *text, struct s3url *u, char *out_why, size_t why_bytes)
{
    bool insecure = false;

    while (*text) {
        char option[300];
        size_t n = strcspn(text, "&");
        char *equals;
        int rc;

        if (!copy(option, sizeof option, text, n))
            return fail(out_why, why_bytes, "an option is too long");
        text += n + (text[n] == '&');
        equals = strchr(option, '=');
        if (!equals)
            return fail(out_why, why_bytes, "an option has no =");
        rc = take_option(option, (size_t)(equals - option), equals + 1, u, &insecure, out_why,
                         why_bytes);
        if (rc < 0)
            return rc;
    }
    if (u->endpoint[0] == '\0')
        return fail(out_why, why_bytes, "endpoint= is missing");
    if (!u->is_tls && !insecure && !is_loopback(u->host))
        return fail(out_why, why_bytes, "http:// beyond this machine needs insecure=1");
    return 0;
}

int s3url_parse(const char *text, struct s3url *out_url, char *out_why, size_t why_bytes)
{
    struct s3url u = { .region = "us-east-1" };
    size_t n;
    int rc;

    if (strncmp(text, "s3://", 5) != 0)
        return fail(out_why, why_bytes, "does not begin with s3://");
    text += 5;
    n = strcspn(text, "/?");
    if (n < 3 || !copy(u.bucket, sizeof u.bucket, text, n) ||
        !has_only(u.bucket, LOWER DIGITS "-."))
        return fail(out_why, why_bytes, "the bucket's name is not valid");
    text += n + (text[n] == '/');
    n = strcspn(text, "?");
    if (n > 0 && text[n - 1] == '/')
        n--;
    if (n > 0) {
        if (!copy(u.prefix, sizeof u.prefix - 1, text, n) || !objstore_is_key(u.prefix))
            return fail(out_why, why_bytes, "the prefix is lower-case letters, digits, - . /");
        u.prefix[n] = '/';
        u.prefix[n + 1] = '\0';
    }
    text += strcspn(text, "?");
    rc = take_options(*text == '?' ? text + 1 : text, &u, out_why, why_bytes);
    if (rc < 0)
        return rc;
    *out_url = u;
    return 0;
}
