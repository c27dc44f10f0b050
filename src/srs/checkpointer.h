/* Signed heads of the log (CRYPTO 2.8). */
#ifndef PHR_SRS_CHECKPOINTER_H
#define PHR_SRS_CHECKPOINTER_H

#include "base/cursor.h"
#include "srs/srs.h"

/* Sets s->checkpoint_size from the database; zero where it cannot be read. */
void checkpointer_load(struct srs *s);
/* Signs the log as it stands in the open transaction. */
int checkpointer_sign(struct srs *s) PHR_MUST_CHECK;
/* The newest note; signs a fresh one when the log has grown. */
int checkpointer_copy_note(struct srs *s, struct writer *out) PHR_MUST_CHECK;

#endif
