#include "srs/checkpointer.h"

#include <stdio.h>

#include "base/clock.h"
#include "srs/srs_inside.h"

void checkpointer_load(struct srs *s)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT max(size) FROM checkpoint");

    s->checkpoint_size = srs_db_first(&q) == 0 ? srs_db_col_u64(&q, 0) : 0;
}

int checkpointer_sign(struct srs *s)
{
    struct checkpoint c = { .size = s->log.tree.size, .root = tree_root(&s->log.tree) };
    scoped(writer_fini) struct writer note;
    struct srs_stmt q;
    int rc;

    writer_init(&note);
    ignored(snprintf(c.origin, sizeof c.origin, "%s",
                     s->origin)); /* shorter than the field */
    rc = checkpoint_sign(&c, s->key.sign, &note);
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "INSERT OR REPLACE INTO checkpoint(size, note) VALUES(?,?)");
    srs_db_bind_u64(&q, c.size);
    srs_db_bind_view(&q, writer_done(&note));
    rc = srs_db_run(&q);
    if (rc == 0)
        rc = batch_set_note(s, c.size, writer_done(&note));
    if (rc == 0) {
        s->checkpoint_size = c.size;
        s->checkpoint_ms = clock_boottime_ms();
    }
    return rc;
}

int checkpointer_copy_note(struct srs *s, struct writer *out)
{
    int rc = s->log.tree.size > s->checkpoint_size || s->log.tree.size == 0
                 ? checkpointer_sign(s)
                 : 0;
    struct srs_stmt q;

    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "SELECT note FROM checkpoint WHERE size = ?");
    srs_db_bind_u64(&q, s->checkpoint_size);
    rc = srs_db_first(&q);
    if (rc == 0)
        writer_lp(out, srs_db_col_view(&q, 0));
    srs_db_end(&q);
    return rc == -ENOENT ? -EIO : rc;
}
