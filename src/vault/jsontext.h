/* JSON as text, into a writer. */
#ifndef PHR_VAULT_JSONTEXT_H
#define PHR_VAULT_JSONTEXT_H

#include "base/cursor.h"
#include "phr/types.h"

/* At most 511 bytes. */
void jsontext_f(struct writer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void jsontext_string(struct writer *out, struct view s);
void jsontext_id(struct writer *out, const struct id16 *id);

#endif
