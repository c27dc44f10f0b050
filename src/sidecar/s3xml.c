#include "sidecar/s3xml.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"

enum { DEPTH_MAX = 8, NAME_BYTES = 64, TEXT_BYTES = 4096 };

struct parse {
    XML_Parser parser;
    int rc;
    unsigned depth;
    char root[NAME_BYTES];
    char parent[NAME_BYTES]; /* of the open element at depth 2 */
    char name[NAME_BYTES];   /* innermost */
    char text[TEXT_BYTES];   /* of it */
    size_t text_n;
    struct s3xml_page *page;   /* one of the two */
    struct s3xml_error *error;
};

static void stop(struct parse *p, int rc)
{
    if (p->rc == 0)
        p->rc = rc;
    ignored(XML_StopParser(p->parser, XML_FALSE)); /* already stopped is as good */
}

static void on_doctype(void *user, const XML_Char *name, const XML_Char *sysid,
                       const XML_Char *pubid, int has_internal)
{
    (void)name;
    (void)sysid;
    (void)pubid;
    (void)has_internal;
    stop(user, PHR_E_FORMAT);
}

static void keep_name(char to[NAME_BYTES], const char *name)
{
    size_t n = strlen(name);

    to[0] = '\0'; /* a longer one is none of ours */
    if (n < NAME_BYTES)
        memcpy(to, name, n + 1);
}

static void on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    struct parse *p = user;

    (void)attributes;
    p->depth++;
    p->text_n = 0;
    if (p->depth > DEPTH_MAX) {
        stop(p, PHR_E_FORMAT);
        return;
    }
    keep_name(p->name, name);
    if (p->depth == 1)
        keep_name(p->root, name);
    if (p->depth == 2)
        keep_name(p->parent, name);
}

static void on_text(void *user, const XML_Char *s, int n)
{
    struct parse *p = user;

    if (n < 0 || (size_t)n > sizeof p->text - 1 - p->text_n) {
        stop(p, PHR_E_FORMAT);
        return;
    }
    memcpy(p->text + p->text_n, s, (size_t)n);
    p->text_n += (size_t)n;
}

static void add_key(struct parse *p)
{
    struct s3xml_page *page = p->page;
    char *key;

    if (p->text_n == 0 || p->text_n > S3XML_KEY_BYTES_MAX || page->count >= S3XML_KEYS_MAX) {
        stop(p, PHR_E_FORMAT);
        return;
    }
    key = malloc(p->text_n + 1);
    if (!key) {
        stop(p, -ENOMEM);
        return;
    }
    memcpy(key, p->text, p->text_n + 1);
    page->keys[page->count++] = key;
}

static void end_list_element(struct parse *p)
{
    if (p->depth == 3 && strcmp(p->parent, "Contents") == 0 && strcmp(p->name, "Key") == 0) {
        add_key(p);
    } else if (p->depth == 2 && strcmp(p->name, "IsTruncated") == 0) {
        p->page->is_truncated = strcmp(p->text, "true") == 0;
    } else if (p->depth == 2 && strcmp(p->name, "NextContinuationToken") == 0) {
        if (p->text_n >= sizeof p->page->token)
            stop(p, PHR_E_FORMAT);
        else
            memcpy(p->page->token, p->text, p->text_n + 1);
    }
}

/* Outside text on its way to logs and terminals: what is not plain is left out. */
static void keep_plain(char *to, size_t room, const char *text, bool only_letters)
{
    size_t n = 0;

    for (; *text && n + 1 < room; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                      (*text >= '0' && *text <= '9');

        if (letter || (!only_letters && *text >= ' ' && *text <= '~'))
            to[n++] = *text;
    }
    to[n] = '\0';
}

static void on_end(void *user, const XML_Char *name)
{
    struct parse *p = user;

    (void)name;
    p->text[p->text_n] = '\0';
    if (p->page) {
        end_list_element(p);
    } else if (p->depth == 2 && strcmp(p->name, "Code") == 0) {
        keep_plain(p->error->code, sizeof p->error->code, p->text, true);
    } else if (p->depth == 2 && strcmp(p->name, "Message") == 0) {
        keep_plain(p->error->message, sizeof p->error->message, p->text, false);
    }
    p->text_n = 0;
    p->name[0] = '\0';
    p->depth--;
}

static int run(struct parse *p, struct view xml, const char *root)
{
    int rc = 0;

    if (xml.n == 0 || xml.n > S3XML_BYTES_MAX)
        return PHR_E_FORMAT;
    p->parser = XML_ParserCreate(NULL);
    if (!p->parser)
        return -ENOMEM;
    XML_SetUserData(p->parser, p);
    XML_SetElementHandler(p->parser, on_start, on_end);
    XML_SetCharacterDataHandler(p->parser, on_text);
    XML_SetStartDoctypeDeclHandler(p->parser, on_doctype);
    if (XML_Parse(p->parser, (const char *)xml.p, (int)xml.n, XML_TRUE) != XML_STATUS_OK)
        rc = PHR_E_FORMAT;
    XML_ParserFree(p->parser);
    if (p->rc < 0)
        return p->rc;
    if (rc == 0 && strcmp(p->root, root) != 0)
        rc = PHR_E_FORMAT;
    return rc;
}

void s3xml_page_fini(struct s3xml_page *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->keys[i]);
    free(p->keys);
    memset(p, 0, sizeof *p);
}

int s3xml_parse_list(struct view xml, struct s3xml_page *out_page)
{
    struct s3xml_page page = { 0 };
    scoped(free) struct parse *p = calloc(1, sizeof *p);
    int rc;

    page.keys = calloc(S3XML_KEYS_MAX, sizeof *page.keys);
    if (!p || !page.keys) {
        s3xml_page_fini(&page);
        return -ENOMEM;
    }
    p->page = &page;
    rc = run(p, xml, "ListBucketResult");
    if (rc == 0 && page.is_truncated && page.token[0] == '\0')
        rc = PHR_E_FORMAT; /* more, but no way to ask for it */
    if (rc < 0) {
        s3xml_page_fini(&page);
        return rc;
    }
    *out_page = page;
    return 0;
}

int s3xml_parse_error(struct view xml, struct s3xml_error *out_error)
{
    struct s3xml_error error = { 0 };
    scoped(free) struct parse *p = calloc(1, sizeof *p);
    int rc;

    if (!p)
        return -ENOMEM;
    p->error = &error;
    rc = run(p, xml, "Error");
    if (rc < 0)
        return rc;
    *out_error = error;
    return 0;
}
