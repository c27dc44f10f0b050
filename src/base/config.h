/*
 * phr.conf: INI, sections and keys of one table; unknown ones are refused by name. Where it
 * lies: the caller's path, else $PHR_CONFIG, else $PHR_HOME/phr.conf when PHR_HOME is set,
 * else /etc/phr/phr.conf. A missing file means the defaults.
 */
#ifndef PHR_BASE_CONFIG_H
#define PHR_BASE_CONFIG_H

#include <limits.h>
#include <stdint.h>

#include "phr/err.h"
#include "phr/types.h"

struct config {
    char path[PATH_MAX];      /* the file that was read, or would have been */
    char home[PATH_MAX];      /* [phr] home     default $PHR_HOME or /var/lib/phr */
    char run[PATH_MAX];       /* [phr] run      default $PHR_RUN or /run/phr */
    char user[64];            /* [phr] user     phrfs runs as it when root mounts; default: no change */
    char sidecar_user[64];    /* [phrd] user    default: no change */
    char log_level[8];        /* [phr] log_level error|warn|info|debug, default info */
    char store_url[1024];     /* [store] url    file:///dir or s3://bucket/prefix?endpoint=..&region=.. */
    char store_credentials[PATH_MAX]; /* [store] credentials  file, 0600: access_key=, secret_key=, session_token= */
    char store_ca_file[PATH_MAX];     /* [store] ca_file      extra trust anchor for TLS */
    uint64_t lease_s;         /* [srs] lease_s            default 300 */
    uint64_t seal_delay_ms;   /* [vault] seal_delay_ms    default 2000, after the last close */
    uint64_t temp_age_ms;     /* [vault] temp_age_ms      default 5000, after create */
    uint64_t idle_logout_s;   /* [vault] idle_logout_s    a person who does nothing this long is logged out, default 0 = never */
    uint64_t floor_bytes;     /* [vault] floor_bytes      free space kept, default 256 MiB */
    uint64_t store_bytes_max; /* [vault] store_bytes_max  local ciphertext, default 0 = no limit but the floor */
    char audit[8];            /* [vault] audit            spool | sync, default spool */
};

/*
 * path may be NULL. On PHR_E_CONFIG out_why (at least 200 bytes) holds one sentence with file,
 * line and key; it may be NULL.
 */
int config_load(const char *path, struct config *out_config, char *out_why, size_t why_bytes)
    PHR_MUST_CHECK;
/* The same from memory: what the fuzz target feeds. */
int config_parse(const char *text, struct config *io_config, char *out_why, size_t why_bytes)
    PHR_MUST_CHECK;
/* home or run joined with a relative path; PHR_E_LIMIT when it does not fit. */
int config_home_path(const struct config *c, const char *rel, char *out, size_t n) PHR_MUST_CHECK;
int config_run_path(const struct config *c, const char *rel, char *out, size_t n) PHR_MUST_CHECK;

#endif
