#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "output.h"

enum { SYNC_WAIT_S = 600, SYNC_WAIT_S_MAX = 24 * 3600, FTW_OPEN_MAX = 16 };

static json_t *parse_text(char *take)
{
    json_t *value = json_loads(take, 0, NULL);

    free(take);
    return value ? value : json_null();
}

/* ---- status ---- */

struct mounts {
    struct phr_client *client;
    json_t *list;
    const char *dir; /* NULL: all */
};

static int on_mount(void *user, const char *dir, const char *socket_path)
{
    struct mounts *m = user;
    char *text = NULL;

    (void)socket_path;
    if (m->dir && strcmp(m->dir, dir) != 0)
        return 0;
    if (phr_mount_dup_status(m->client, dir, &text) < 0)
        return 0; /* it ended while we looked */
    return json_array_append_new(m->list, parse_text(text)) < 0 ? -ENOMEM : 0;
}

static void print_tree(const json_t *value, int depth);

static void print_member(const char *key, const json_t *value, int depth)
{
    printf("%*s%-*s ", depth * 2, "", 22 - depth * 2, key);
    if (json_is_object(value) || json_is_array(value)) {
        putchar('\n');
        print_tree(value, depth + 1);
    } else if (json_is_string(value)) {
        printf("%s\n", json_string_value(value));
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%g\n", json_real_value(value));
    } else {
        printf("%s\n", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
    }
}

enum { DEPTH_MAX = 4 }; /* our own answers are flat */

static void print_tree(const json_t *value, int depth)
{
    const char *key;
    json_t *member;
    size_t i;

    if (depth > DEPTH_MAX)
        return;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
            print_member(key, member, depth);
    } else {
        json_array_foreach(value, i, member) print_member("-", member, depth);
    }
}

/* A ledger of which the server shows another past than the one that a mount has verified. */
static bool is_contradicted(const json_t *mounts)
{
    const json_t *mount;
    const json_t *ledger;
    size_t i;
    size_t j;

    json_array_foreach(mounts, i, mount) {
        json_array_foreach(json_object_get(json_object_get(mount, "mount"), "ledgers"), j, ledger) {
            if (json_object_get(ledger, "contradiction"))
                return true;
        }
    }
    return false;
}

static json_int_t count_kept(const json_t *mounts)
{
    const json_t *mount;
    json_int_t n = 0;
    size_t i;

    json_array_foreach(mounts, i, mount)
        n += json_integer_value(json_object_get(json_object_get(mount, "mount"), "kept_logs"));
    return n;
}

static void print_kept(json_int_t n)
{
    if (n <= 0)
        return;
    printf("Changes that were acknowledged before a crash could not be run again. They are kept in the\n"
           "vault: namespace.db-redo-kept-* (%" JSON_INTEGER_FORMAT "). See AFTER A CRASH in phrfs(8).\n", n);
}

int cmd_status(struct phr_client *c, const struct args *a)
{
    struct mounts m = { .client = c, .list = json_array(), .dir = a->text[ARG_MOUNT] };
    char *text = NULL;
    int phrd = phr_sidecar_dup_status(c, &text);
    int rc = m.list ? phr_mount_each(c, on_mount, &m) : -ENOMEM;
    json_t *all = json_pack("{s:o,s:o}", "phrd",
                            phrd == 0 ? parse_text(text) : json_null(), "mounts", m.list);

    if (!all)
        rc = -ENOMEM;
    if (rc == 0 && a->is_set[ARG_JSON])
        rc = output_json(json_incref(all));
    else if (rc == 0)
        print_tree(all, 0);
    if (rc == 0 && !a->is_set[ARG_JSON])
        print_kept(count_kept(m.list));
    if (rc == 0)
        rc = phrd < 0 ? phrd : is_contradicted(m.list) ? PHR_E_FORK : 0;
    json_decref(all); /* what was found is shown; that something is wrong with it is the result */
    return rc;
}

/* ---- sync ---- */

int cmd_status_sync(struct phr_client *c, const struct args *a)
{
    struct phr_backlog left;
    uint32_t queued = 0;
    uint64_t wait_s;
    bool is_clean;
    int rc = args_number(a, ARG_TIMEOUT, a->is_set[ARG_WAIT] ? SYNC_WAIT_S : 0,
                         SYNC_WAIT_S_MAX, &wait_s);

    if (rc == 0 && a->is_set[ARG_RETRY])
        rc = phr_sidecar_retry(c, &queued);
    if (rc == 0)
        rc = phr_mount_sync(c, a->text[ARG_MOUNT], (uint32_t)wait_s * 1000, &left);
    if (rc < 0)
        return rc;
    is_clean = left.ops + left.unsealed + left.objects + left.parked == 0;
    if (a->is_set[ARG_JSON])
        rc = output_json(json_pack("{s:b,s:i,s:i,s:i,s:i,s:i}", "clean", is_clean, "ops",
                                   (int)left.ops, "unsealed", (int)left.unsealed,
                                   "objects", (int)left.objects, "parked",
                                   (int)left.parked, "queued_again", (int)queued));
    else if (is_clean)
        puts("Everything is in the object store.");
    else
        printf("Still here: %u changes, %u files not sealed, %u objects to upload, %u "
               "refused by the store.\n",
               left.ops, left.unsealed, left.objects, left.parked);
    return rc < 0 || is_clean ? rc : PHR_E_TIMEOUT;
}

/* ---- conflicts ---- */

/* nftw(3) hands no argument through; the command line has one thread and asks once. */
static json_t *found_conflicts;

static int on_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type != FTW_F || !strstr(path, " (conflict "))
        return 0;
    return json_array_append_new(found_conflicts, json_string(path)) < 0 ? -1 : 0;
}

static int on_dir(void *user, const char *dir, const char *socket_path)
{
    const struct args *a = user;

    (void)socket_path;
    if (a->text[ARG_MOUNT] && strcmp(a->text[ARG_MOUNT], dir) != 0)
        return 0;
    return dir[0] && nftw(dir, on_file, FTW_OPEN_MAX, FTW_PHYS | FTW_MOUNT) < 0 ? -ENOMEM
                                                                                : 0;
}

int cmd_status_conflicts(struct phr_client *c, const struct args *a)
{
    struct args copy = *a;
    size_t i;
    json_t *path;
    int rc;

    found_conflicts = json_array();
    rc = found_conflicts ? phr_mount_each(c, on_dir, &copy) : -ENOMEM;
    if (rc == 0 && a->is_set[ARG_JSON])
        return output_json(found_conflicts);
    if (rc == 0 && json_array_size(found_conflicts) == 0)
        puts("No conflicts that this user can see.");
    json_array_foreach(found_conflicts, i, path) puts(json_string_value(path));
    json_decref(found_conflicts);
    return rc;
}

/* ---- check ---- */

/* "alice/labs/scan.dcm: blocks 100 to 103 damaged (PHR_E_SEAL)" */
static void print_damage(const json_t *found)
{
    const char *path = json_string_value(json_object_get(found, "path"));
    const char *what = json_string_value(json_object_get(found, "what"));
    json_int_t first = json_integer_value(json_object_get(found, "block"));
    json_int_t count = json_integer_value(json_object_get(found, "blocks"));

    printf("%s: ", path ? path : json_string_value(json_object_get(found, "file_id")));
    if (count > 1)
        printf("blocks %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT, first,
               first + count - 1);
    else if (count == 1)
        printf("block %" JSON_INTEGER_FORMAT, first);
    else
        fputs(what ? what : "?", stdout);
    printf(" %s (%s)\n", json_is_true(json_object_get(found, "repaired")) ? "repaired" : "damaged",
           json_string_value(json_object_get(found, "reason")));
}

static void print_check(const json_t *answer, json_int_t damaged)
{
    json_int_t repaired = json_integer_value(json_object_get(answer, "repaired"));
    json_t *found;
    size_t i;

    json_array_foreach(json_object_get(answer, "damaged"), i, found) print_damage(found);
    if (repaired > 0)
        printf("Repaired from the object store: %" JSON_INTEGER_FORMAT ".\n", repaired);
    puts(damaged ? "Damaged; see above." : "Nothing is damaged.");
    print_kept(json_integer_value(json_object_get(answer, "kept_logs")));
}

int cmd_status_check(struct phr_client *c, const struct args *a)
{
    unsigned flags = (a->is_set[ARG_AGAIN] ? (unsigned)PHR_CHECK_NEW : 0U) |
                     (a->is_set[ARG_REPAIR] ? (unsigned)PHR_CHECK_REPAIR : 0U);
    char *text = NULL;
    json_t *answer;
    json_int_t damaged;
    int rc = phr_mount_dup_check(c, a->text[ARG_MOUNT], (enum phr_check)flags, &text);

    output_progress_end();
    if (rc < 0)
        return rc;
    answer = parse_text(text);
    damaged = json_integer_value(json_object_get(answer, "count"));
    if (a->is_set[ARG_JSON]) {
        rc = output_json(answer);
    } else {
        print_check(answer, damaged);
        json_decref(answer);
    }
    return rc < 0 || damaged == 0 ? rc : PHR_E_SEAL;
}
