/* Patients and compartments by name: from the class roots that somebody's names key opens. */
#include "vault/node_top.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"

static const char *raw_name(const struct class_key *k, bool of_patient)
{
    return of_patient ? k->patient_name : k->name;
}

static const struct id16 *raw_id(const struct class_key *k, bool of_patient)
{
    return of_patient ? &k->ctx.patient : &k->ctx.class_id;
}

static bool shows(const struct class_key *k)
{
    return k->is_current && k->has_rows && k->name[0];
}

/* Another patient (or another compartment of this patient) shows under the same name. */
static bool is_shared(struct vault *v, const struct class_key *mine, bool of_patient)
{
    for (struct identity *id = v->identities; id; id = id->next) {
        for (struct class_key *k = id->classes; k; k = k->next) {
            if (!shows(k) || id_equal(raw_id(k, of_patient), raw_id(mine, of_patient)))
                continue;
            if (!of_patient && !id_equal(&k->ctx.patient, &mine->ctx.patient))
                continue;
            if (strcmp(raw_name(k, of_patient), raw_name(mine, of_patient)) == 0)
                return true;
        }
    }
    return false;
}

void node_top_name(struct vault *v, const struct class_key *k, bool of_patient,
                   char out[NAME_BYTES_MAX + 1])
{
    const char *name = raw_name(k, of_patient);
    char hex[9];

    if (!is_shared(v, k, of_patient)) {
        snprintf(out, NAME_BYTES_MAX + 1, "%s", name);
        return;
    }
    hex_encode(raw_id(k, of_patient)->b, 4, hex);
    snprintf(out, NAME_BYTES_MAX + 1, "%.*s~%s", NAME_BYTES_MAX - 9, name, hex);
}

int node_top_patient(struct vault *v, const struct id16 *patient, uint64_t *out_nodeid)
{
    struct name_inode row = { .ino = *patient, .kind = NODE_PATIENT };
    struct name_inode found;
    struct nsdb_stmt s;
    int rc = nsdb_inode_find(v->db, patient, &s, &found);

    if (rc == 0) {
        nsdb_end(&s);
        *out_nodeid = found.nodeid;
        return 0;
    }
    if (rc != -ENOENT)
        return rc;
    rc = nsdb_inode_insert(v->db, &row);
    if (rc == 0)
        *out_nodeid = row.nodeid;
    return rc;
}

static int class_node(struct vault *v, const struct id16 *class_id, uint64_t *out_nodeid)
{
    struct name_inode row;
    struct nsdb_stmt s;
    int rc = nsdb_inode_find(v->db, class_id, &s, &row);

    if (rc < 0)
        return rc;
    nsdb_end(&s);
    *out_nodeid = row.nodeid;
    return 0;
}

int node_top_resolve(struct vault *v, const struct node *dir, const struct id16 *id,
                     uint64_t *out_nodeid)
{
    return dir->row.kind == NODE_ROOT ? node_top_patient(v, id, out_nodeid)
                                      : class_node(v, id, out_nodeid);
}

int node_top_lookup(struct vault *v, const struct node *parent, struct view name,
                    uint64_t *out_nodeid)
{
    bool of_patient = parent->row.kind == NODE_ROOT;

    for (struct identity *id = v->identities; id; id = id->next) {
        for (struct class_key *k = id->classes; k; k = k->next) {
            char shown[NAME_BYTES_MAX + 1];

            if (!shows(k) || (!of_patient && !id_equal(&k->ctx.patient, &parent->row.ino)))
                continue;
            node_top_name(v, k, of_patient, shown);
            if (view_equal(view_text(shown), name))
                return node_top_resolve(v, parent, raw_id(k, of_patient), out_nodeid);
        }
    }
    return -ENOENT;
}

static bool is_listed(const struct node_top_entry *list, size_t n, const struct id16 *id)
{
    for (size_t i = 0; i < n; i++)
        if (id_equal(&list[i].id, id))
            return true;
    return false;
}

static int by_cookie(const void *a, const void *b)
{
    const struct node_top_entry *x = a;
    const struct node_top_entry *y = b;

    return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

int node_top_list(struct vault *v, const struct who *who, const struct node *dir,
                  struct node_top_entry **out_entries, size_t *out_count)
{
    bool of_patient = dir->row.kind == NODE_ROOT;
    struct session *s = session_of_uid(v, who->uid);
    struct node_top_entry *list = NULL;
    size_t n = 0;

    for (struct class_key *k = s && !s->is_leaving ? s->id->classes : NULL; k; k = k->next) {
        struct node_top_entry *more;

        if (!shows(k) || (!of_patient && !id_equal(&k->ctx.patient, &dir->row.ino)) ||
            is_listed(list, n, raw_id(k, of_patient)))
            continue;
        more = realloc(list, (n + 1) * sizeof *list);
        if (!more) {
            free(list);
            return -ENOMEM;
        }
        list = more;
        list[n].id = *raw_id(k, of_patient);
        list[n].cookie = names_st_ino(&list[n].id) | 16; /* above "." and ".." */
        node_top_name(v, k, of_patient, list[n].name);
        n++;
    }
    if (n > 1)
        qsort(list, n, sizeof *list, by_cookie);
    *out_entries = list;
    *out_count = n;
    return 0;
}
