#include "format/xattr.h"

#include <errno.h>
#include <string.h>

#include "base/scope.h"

enum { XATTR_NAME_BYTES_MAX = 255 };

struct item {
    struct view name;
    struct view value;
};

/* By bytes, the shorter first where one is the beginning of the other. */
static int name_compare(struct view a, struct view b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

static bool is_name(struct view v)
{
    return v.n >= 1 && v.n <= XATTR_NAME_BYTES_MAX && !memchr(v.p, 0, v.n);
}

/* No bytes at all are an empty list too. */
static uint16_t list_begin(struct view list, struct reader *out_reader)
{
    *out_reader = reader_over(list);
    return list.n > 0 ? reader_u16(out_reader) : 0;
}

static struct item item_read(struct reader *r)
{
    struct item i = { { NULL, 0 }, { NULL, 0 } };

    i.name = reader_lp(r, XATTR_NAME_BYTES_MAX);
    i.value = reader_lp(r, XATTR_VALUE_BYTES_MAX);
    return i;
}

static void item_write(struct writer *w, struct view name, struct view value)
{
    writer_lp(w, name);
    writer_lp(w, value);
}

int xattr_check(struct view list)
{
    struct view last = { NULL, 0 };
    struct reader r;
    uint16_t count = list_begin(list, &r);

    if (list.n > XATTR_BYTES_MAX)
        return PHR_E_FORMAT;
    for (uint16_t i = 0; i < count; i++) {
        struct item item = item_read(&r);

        if (!reader_ok(&r) || !is_name(item.name) || name_compare(last, item.name) >= 0)
            return PHR_E_FORMAT;
        last = item.name;
    }
    return reader_done(&r) ? 0 : PHR_E_FORMAT;
}

int xattr_get(struct view list, struct view name, struct view *out_value)
{
    struct reader r;
    uint16_t count;
    int rc = xattr_check(list);

    if (rc < 0)
        return rc;
    count = list_begin(list, &r);
    for (uint16_t i = 0; i < count; i++) {
        struct item item = item_read(&r);

        if (view_equal(item.name, name)) {
            *out_value = item.value;
            return 0;
        }
    }
    return -ENODATA;
}

/* All but the named one, with the new one in its place in the order. */
static uint16_t list_merge(struct view list, struct view name, struct view value,
                           struct writer *out)
{
    bool is_placed = value.p == NULL;
    uint16_t written = 0;
    struct reader r;
    uint16_t count = list_begin(list, &r);

    for (uint16_t i = 0; i < count; i++) {
        struct item item = item_read(&r);
        int order = name_compare(item.name, name);

        if (order > 0 && !is_placed) {
            item_write(out, name, value);
            is_placed = true;
            written++;
        }
        if (order != 0) {
            item_write(out, item.name, item.value);
            written++;
        }
    }
    if (!is_placed) {
        item_write(out, name, value);
        written++;
    }
    return written;
}

int xattr_set(struct view list, struct view name, struct view value, struct writer *out)
{
    size_t start = out->n;
    struct view old;
    uint16_t count;
    int rc;

    if (!is_name(name))
        return name.n > XATTR_NAME_BYTES_MAX ? -ERANGE : -EINVAL;
    if (value.n > XATTR_VALUE_BYTES_MAX)
        return -E2BIG;
    rc = xattr_get(list, name, &old);
    if (rc < 0 && (rc != -ENODATA || !value.p))
        return rc;
    writer_u16(out, 0);
    count = list_merge(list, name, value, out);
    if (!writer_ok(out))
        return -ENOMEM;
    if (out->n - start > XATTR_BYTES_MAX)
        return -ENOSPC;
    put_le16(out->p + start, count);
    return 0;
}

int xattr_names(struct view list, struct writer *out)
{
    struct reader r;
    uint16_t count;
    int rc = xattr_check(list);

    if (rc < 0)
        return rc;
    count = list_begin(list, &r);
    for (uint16_t i = 0; i < count; i++) {
        writer_view(out, item_read(&r).name);
        writer_u8(out, 0);
    }
    return writer_ok(out) ? 0 : -ENOMEM;
}
