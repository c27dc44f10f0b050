#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "opening.h"
#include "phr/audit.h"

enum { LIMIT_MAX = 100 * 1000 * 1000 };

static int fill_wish(const struct args *a, struct phr_audit_wish *out)
{
    uint64_t limit = 0;
    int rc = args_time(a, ARG_SINCE, false, &out->since_s);

    if (rc == 0)
        rc = args_time(a, ARG_UNTIL, true, &out->until_s);
    if (rc == 0)
        rc = args_number(a, ARG_LIMIT, 0, LIMIT_MAX, &limit);
    out->who = a->text[ARG_WHO];
    out->patient = a->text[ARG_PATIENT];
    out->op = a->text[ARG_OP];
    out->limit = limit;
    out->is_raw = a->is_set[ARG_RAW];
    if (rc == 0 && a->text[ARG_OUTCOME]) {
        if (strcmp(a->text[ARG_OUTCOME], "ok") == 0)
            out->outcome = PHR_AUDIT_OK;
        else if (strcmp(a->text[ARG_OUTCOME], "denied") == 0)
            out->outcome = PHR_AUDIT_DENIED;
        else
            rc = PHR_E_USAGE;
    }
    return rc;
}

static json_t *pack_row(const struct phr_audit_row *r)
{
    return json_pack("{s:I,s:s,s:s,s:i,s:s,s:s,s:i,"
                     "s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:I}",
                     "index", (json_int_t)r->index, "time", r->time, "op", r->op,
                     "outcome", r->outcome, "outcome_text", r->outcome_text, "who",
                     r->who, "uid", (int)r->uid, "program", r->program, "host", r->host,
                     "patient", r->patient, "compartment", r->compartment, "file",
                     r->file, "grant", r->grant, "purpose", r->purpose, "reason",
                     r->reason, "count", (int)r->count, "index_last",
                     (json_int_t)r->index_last);
}

/* Nobody here knows its name: enough of the id to tell one from another. */
static bool is_hex_id(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static int on_shown(void *user, const struct phr_audit_row *r)
{
    json_t *list = user;

    if (list)
        return json_array_append_new(list, pack_row(r)) < 0 ? -ENOMEM : 0;
    printf("%6" PRIu64 "  %s  %-14s %-16s %s%s%.*s", r->index, r->time, r->op,
           r->who[0] ? r->who : "-", r->patient, r->compartment[0] ? "/" : "",
           is_hex_id(r->compartment) ? 8 : 255, r->compartment);
    if (r->program[0])
        printf("  by %s (uid %" PRIu32 ")", r->program, r->uid);
    if (r->count > 1)
        printf("  x %" PRIu32, r->count);
    if (r->outcome != 0)
        printf("  %s", r->outcome_text);
    putchar('\n');
    return 0;
}

int cmd_audit_show(struct phr_client *c, const struct args *a)
{
    struct phr_audit_wish wish = { 0 };
    struct phr_identity *viewer = NULL;
    json_t *list = a->is_set[ARG_JSON] ? json_array() : NULL;
    int rc = fill_wish(a, &wish);

    if (rc == 0)
        rc = opening_viewer(c, a, &viewer);
    wish.viewer = viewer;
    if (rc == 0)
        rc = phr_audit_each(c, &wish, on_shown, list);
    phr_identity_lock(viewer);
    if (rc < 0 || !list) {
        json_decref(list);
        return rc;
    }
    return output_json(list);
}

int cmd_audit_verify(struct phr_client *c, const struct args *a)
{
    struct phr_audit_proof p = { 0 };
    struct phr_identity *viewer = NULL;
    int rc = opening_viewer(c, a, &viewer);

    if (rc == 0)
        rc = phr_audit_verify(c, viewer, &p);
    phr_identity_lock(viewer);
    if (rc == PHR_E_AUDIT_BROKEN && p.has_bad_index && !a->is_set[ARG_JSON])
        printf("Record %" PRIu64
               " does not match the log: it was changed after it was written.\n",
               p.bad_index);
    if (rc < 0 && !(a->is_set[ARG_JSON] && p.has_bad_index))
        return rc;
    if (rc < 0) {
        int shown = output_json(
            json_pack("{s:b,s:I}", "verified", 0, "bad_index", (json_int_t)p.bad_index));

        return shown < 0 ? shown : rc;
    }
    return output_done(
        a,
        json_pack("{s:b,s:I,s:I,s:s,s:I}", "verified", 1, "size", (json_int_t)p.size,
                  "records", (json_int_t)p.record_count, "root", p.root, "pinned_size",
                  (json_int_t)p.pinned_size),
        "The log of %" PRIu64 " records verifies: signature, tree, and %" PRIu64
        " readable records.\nroot %s",
        p.size, p.record_count, p.root);
}

/* ---- export ---- */

static void print_csv_text(const char *text, bool is_last)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    fputs(is_last ? "\"\r\n" : "\",", stdout);
}

/* The head comes with the first row: what fails prints no half table. */
static void print_csv_head(bool *io_is_done)
{
    if (!*io_is_done)
        fputs("index,time,op,outcome,who,uid,program,host,patient,compartment,file,"
              "purpose,reason\r\n",
              stdout);
    *io_is_done = true;
}

static int on_csv(void *user, const struct phr_audit_row *r)
{
    print_csv_head(user);
    printf("%" PRIu64 ",%s,%s,%d,", r->index, r->time, r->op, r->outcome);
    print_csv_text(r->who, false);
    printf("%" PRIu32 ",", r->uid);
    print_csv_text(r->program, false);
    printf("%s,", r->host);
    print_csv_text(r->patient, false);
    print_csv_text(r->compartment, false);
    printf("%s,%s,", r->file, r->purpose);
    print_csv_text(r->reason, true);
    return 0;
}

static int on_jsonl(void *user, const struct phr_audit_row *r)
{
    json_t *row = pack_row(r);
    int rc = row && json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0
                 ? 0
                 : -ENOMEM;

    (void)user;
    json_decref(row);
    putchar('\n');
    return rc;
}

int cmd_audit_export(struct phr_client *c, const struct args *a)
{
    const char *format = a->text[ARG_FORMAT] ? a->text[ARG_FORMAT] : "csv";
    const bool is_csv = strcmp(format, "csv") == 0;
    struct phr_audit_wish wish = { 0 };
    struct phr_identity *viewer = NULL;
    bool has_head = false;
    int rc = is_csv || strcmp(format, "jsonl") == 0 ? fill_wish(a, &wish) : PHR_E_USAGE;

    wish.is_raw = true;
    if (rc == 0)
        rc = opening_viewer(c, a, &viewer);
    wish.viewer = viewer;
    if (rc == 0)
        rc = phr_audit_each(c, &wish, is_csv ? on_csv : on_jsonl, &has_head);
    if (rc == 0 && is_csv)
        print_csv_head(&has_head);
    phr_identity_lock(viewer);
    return rc;
}
