#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "opening.h"
#include "phr/grant.h"

enum {
    CUTOFF_WAIT_MS = 10 * 1000, /* reachable mounts answer within a second */
    CUTOFF_WAIT_ALL_MS =
        600 * 1000 /* --wait: longer than any lease that is the default */
};

static int parse_rights(const char *text, bool *out_may_write)
{
    *out_may_write = text && strcmp(text, "rw") == 0;
    return !text || *out_may_write || strcmp(text, "r") == 0 ? 0 : PHR_E_USAGE;
}

int cmd_grant_add(struct phr_client *c, const struct args *a)
{
    struct phr_grant_wish wish = { .to = a->text[ARG_TO],
                                   .purpose = a->text[ARG_PURPOSE] };
    struct opened o = { 0 };
    uint64_t max_opens = 0;
    uint32_t count = 0;
    int rc = wish.to ? parse_rights(a->text[ARG_RIGHTS], &wish.may_write) : PHR_E_USAGE;

    if (rc == 0)
        rc = args_time(a, ARG_EXPIRES, true, &wish.not_after_s);
    if (rc == 0)
        rc = args_number(a, ARG_MAX_OPENS, 0, UINT32_MAX, &max_opens);
    wish.max_opens = (uint32_t)max_opens;
    if (rc == 0)
        rc = opening_owner(c, a, a->words[0], &o);
    wish.compartment = o.place.compartment;
    if (rc == 0)
        rc = phr_grant_add(o.owner, &wish, &count);
    opening_end(&o);
    if (rc < 0)
        return rc;
    return output_done(a, json_pack("{s:i}", "grants", (int)count), "%s may %s %s%s%s.",
                       wish.to, wish.may_write ? "read and write" : "read", a->words[0],
                       wish.not_after_s ? " until " : "",
                       wish.not_after_s ? output_time(wish.not_after_s) : "");
}

struct listing {
    json_t *list; /* NULL: text */
    const char *compartment;
    bool is_all;
};

static const char *state_of(const struct phr_grant_info *g)
{
    return g->is_revoked   ? "revoked"
           : g->is_expired ? "expired"
           : g->is_retired ? "retired"
                           : "live";
}

static int on_grant(void *user, const struct phr_grant_info *g)
{
    const struct listing *l = user;
    const char *state = state_of(g);

    if ((l->compartment && strcmp(l->compartment, g->compartment) != 0) ||
        (!l->is_all && strcmp(state, "live") != 0))
        return 0;
    if (l->list)
        return json_array_append_new(
                   l->list,
                   json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:s}", "to", g->reader,
                             "compartment", g->compartment, "rights",
                             g->may_write ? "rw" : "r", "state", state, "purpose",
                             g->purpose, "epoch", (int)g->epoch, "not_before",
                             (json_int_t)g->not_before_s, "not_after",
                             (json_int_t)g->not_after_s, "max_opens",
                             (json_int_t)g->max_opens, "grant", g->grant)) < 0
                   ? -ENOMEM
                   : 0;
    printf("%-20s %-16s %-3s %-8s until %-24s %s\n", g->reader, g->compartment,
           g->may_write ? "rw" : "r", state, output_time(g->not_after_s), g->purpose);
    return 0;
}

int cmd_grant_list(struct phr_client *c, const struct args *a)
{
    struct listing l = { .is_all = a->is_set[ARG_ALL] };
    struct opened o;
    int rc = opening_owner(c, a, a->words[0], &o);

    if (rc == 0) {
        l.list = a->is_set[ARG_JSON] ? json_array() : NULL;
        l.compartment = o.place.compartment;
        rc = phr_grant_each(o.owner, on_grant, &l);
    }
    opening_end(&o);
    if (rc < 0 || !l.list) {
        json_decref(l.list);
        return rc;
    }
    return output_json(l.list);
}

/* ---- revoke ---- */

struct mounts {
    json_t *list;
    unsigned cut;
    unsigned left;
    bool is_text;
};

static int on_host(void *user, const struct phr_revoke_host *h)
{
    struct mounts *m = user;

    m->cut += h->is_applied;
    m->left += !h->is_applied;
    if (m->is_text && h->is_applied)
        printf("  mount %.8s: cut off.\n", h->host);
    else if (m->is_text)
        printf("  mount %.8s: does not answer; it cuts off by itself when its lease "
               "ends, at %s.\n",
               h->host, output_time(h->ends_at_s));
    return json_array_append_new(m->list, json_pack("{s:s,s:b,s:I}", "host", h->host,
                                                    "cut_off", h->is_applied, "ends_at",
                                                    (json_int_t)h->ends_at_s)) < 0
               ? -ENOMEM
               : 0;
}

static void print_rest(const char *from, const struct phr_revoke_result *r)
{
    printf("3. New keys for %" PRIu32 " compartment%s; %" PRIu64
           " file header%s re-wrapped. Whatever is written\n"
           "   from now on, names included, is under the new keys.\n",
           r->class_count, r->class_count == 1 ? "" : "s", r->header_count,
           r->header_count == 1 ? "" : "s");
    printf("What this cannot undo: what %s has opened before, he may have copied; the "
           "contents of those\n"
           "versions are encrypted anew when they are next written.\n",
           from);
}

static int revoke(struct phr_client *c, const struct args *a, struct opened *o)
{
    const struct phr_revoke_wish wish = { .compartment = o->place.compartment,
                                          .from = a->text[ARG_FROM] };
    struct mounts m = { .list = json_array(), .is_text = !a->is_set[ARG_JSON] };
    struct phr_revoke_result r;
    int rc = phr_revoke(o->owner, &wish, &r);
    int waited = 0;

    (void)c;
    output_progress_end();
    if (r.grant_count > 0 && m.is_text) {
        printf("Revoked: %" PRIu32 " grant%s of %s (ledger entry %" PRIu64 ").\n",
               r.grant_count, r.grant_count == 1 ? "" : "s", wish.from, r.seq);
        printf(
            "1. The server releases no key to %s any more.\n2. Mounts that were open:\n",
            wish.from);
    }
    if (r.grant_count > 0)
        waited = phr_revoke_each_host(
            o->owner, r.seq, a->is_set[ARG_WAIT] ? CUTOFF_WAIT_ALL_MS : CUTOFF_WAIT_MS,
            on_host, &m);
    if (r.grant_count > 0 && m.is_text && m.cut + m.left == 0)
        printf("  none.\n");
    if (rc == 0 && waited == 0 && m.is_text)
        print_rest(wish.from, &r);
    if (rc < 0 && r.grant_count > 0 && m.is_text)
        printf("3. The keys are not changed yet; 'phr revoke %s --resume' goes on.\n",
               a->words[0]);
    if (rc == 0)
        rc = waited;
    if (rc < 0 || m.is_text) {
        json_decref(m.list);
        return rc;
    }
    return output_json(json_pack("{s:s,s:I,s:I,s:I,s:I,s:o}", "from", wish.from, "grants",
                                 (json_int_t)r.grant_count, "seq", (json_int_t)r.seq,
                                 "compartments", (json_int_t)r.class_count, "headers",
                                 (json_int_t)r.header_count, "mounts", m.list));
}

int cmd_revoke(struct phr_client *c, const struct args *a)
{
    struct opened o = { 0 };
    int rc = !a->text[ARG_FROM] && !a->is_set[ARG_RESUME] ? PHR_E_USAGE : 0;

    if (rc == 0)
        rc = opening_owner(c, a, a->words[0], &o); /* which resumes */
    if (rc == 0 && a->text[ARG_FROM])
        rc = revoke(c, a, &o);
    else if (rc == 0)
        rc = output_done(a, NULL, "Nothing is left to do.");
    opening_end(&o);
    return rc;
}
