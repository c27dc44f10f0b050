#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "sidecar/phrd.h"

/* The SRS's counters, put in as they are. */
static json_t *srs_part(struct phrd *p)
{
    scoped(free) char *text = srs_dup_status(p->srs);
    json_t *part = text ? json_loads(text, 0, NULL) : NULL;

    return part ? part : json_object();
}

char *phrd_dup_status(struct phrd *p)
{
    json_t *all = transport_dup_status(p->transport);
    char host[33];
    char *text;

    if (!all)
        return NULL;
    hex_encode(p->host.b, sizeof p->host.b, host);
    if (json_object_set_new(all, "version", json_string(PHR_VERSION)) < 0 ||
        json_object_set_new(all, "host", json_string(host)) < 0 ||
        json_object_set_new(all, "time", json_integer((json_int_t)clock_realtime_s())) < 0 ||
        json_object_set_new(all, "started", json_integer((json_int_t)p->started_s)) < 0 ||
        json_object_set_new(all, "mounts", json_integer((json_int_t)mounts_connected(p->mounts))) < 0 ||
        json_object_set_new(all, "srs", srs_part(p)) < 0) {
        json_decref(all);
        return NULL;
    }
    text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(all);
    return text;
}
