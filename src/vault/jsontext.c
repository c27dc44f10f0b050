/* JSON as text: what the vault answers is small and flat. */
#include "vault/jsontext.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hex.h"

void jsontext_f(struct writer *out, const char *format, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    writer_text(out, line);
}

/* A JSON string; control characters and what is no ASCII as \u00XX of its bytes would lie: UTF-8 goes as it is. */
void jsontext_string(struct writer *out, struct view s)
{
    writer_u8(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\') {
            writer_u8(out, '\\');
            writer_u8(out, s.p[i]);
        } else if (s.p[i] < 0x20 || s.p[i] == 0x7f) {
            jsontext_f(out, "\\u%04x", s.p[i]);
        } else {
            writer_u8(out, s.p[i]);
        }
    }
    writer_u8(out, '"');
}

void jsontext_id(struct writer *out, const struct id16 *id)
{
    char hex[33];

    hex_encode(id->b, sizeof id->b, hex);
    jsontext_f(out, "\"%s\"", hex);
}
