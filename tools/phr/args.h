/*
 * Words of the command line: one table of all options, one row per command. Help texts, man
 * page test and parsing all read these tables.
 */
#ifndef PHR_TOOLS_PHR_ARGS_H
#define PHR_TOOLS_PHR_ARGS_H

#include "phr/control.h"

/* X(id, name, argument or NULL, help) */
#define ARGS_OPTIONS(X)                                                                \
    X(HELP, "help", NULL, "show this text")                                            \
    X(JSON, "json", NULL, "answer as JSON")                                            \
    X(CONFIG, "config", "FILE", "configuration instead of the usual one")              \
    X(PASSFILE, "passfile", "FILE", "passphrase: first line of a file that is 0600")   \
    X(PASSFD, "passfd", "N", "passphrase: first line read from descriptor N")          \
    X(NEW_PASSFILE, "new-passfile", "FILE",                                            \
      "new passphrase: first line of a file that is 0600")                             \
    X(NEW_PASSFD, "new-passfd", "N",                                                   \
      "new passphrase: first line read from descriptor N")                             \
    X(AUTHORITY_PASSFILE, "authority-passfile", "FILE",                                \
      "the authority's passphrase, as --passfile")                                     \
    X(AUTHORITY_PASSFD, "authority-passfd", "N",                                       \
      "the authority's passphrase, as --passfd")                                       \
    X(KEYRING, "keyring", "FILE", "keyring file instead of the one in PHR_HOME/keys")  \
    X(STORE, "store", "URL",                                                           \
      "object store: file:///dir or s3://bucket/prefix?endpoint=URL")                  \
    X(CREDENTIALS, "credentials", "FILE",                                              \
      "file (0600) with the keys of the object store")                                 \
    X(ROLE, "role", "ROLE", "person (default), service or group")                      \
    X(DAYS, "days", "N", "how long the card is valid; default 1825")                   \
    X(FOR, "for", "USER", "system user who shall own the keyring file")                \
    X(BACK, "back", NULL, "take it off the list again")                                \
    X(NAME, "name", "NAME", "what the patient's folder is called; default: the id")    \
    X(TO, "to", "LABEL", "the reader")                                                 \
    X(FROM, "from", "LABEL", "the reader who loses the right")                         \
    X(RIGHTS, "rights", "r|rw", "read (default), or read and write")                   \
    X(EXPIRES, "expires", "WHEN", "24h, 7d, 2026-12-31; default: until it is revoked") \
    X(PURPOSE, "purpose", "CODE",                                                      \
      "purpose of use: TREAT ETREAT BTG HPAYMT HOPERAT HRESCH PATRQT PUBHLTH")         \
    X(MAX_OPENS, "max-opens", "N", "how often files may be opened; default: no limit") \
    X(ALL, "all", NULL, "also what is revoked, expired or retired")                    \
    X(WAIT, "wait", NULL, "wait until all of it is done")                              \
    X(TIMEOUT, "timeout", "SECONDS", "wait at most this long; implies --wait")         \
    X(RESUME, "resume", NULL, "end a revocation that was interrupted")                 \
    X(MOUNT, "mount", "DIR", "this mount; needed where there are several")             \
    X(OPTIONS, "options", "LIST", "mount options, as phrfs -o takes them")             \
    X(AS, "as", "ID", "whose keyring looks: a patient's id or a label")                \
    X(WHO, "who", "LABEL", "only this identity")                                       \
    X(PATIENT, "patient", "ID", "only this patient")                                   \
    X(OP, "op", "NAME", "only this operation: open, release, denied, grant, ...")      \
    X(OUTCOME, "outcome", "ok|denied", "only what succeeded, or what did not")         \
    X(SINCE, "since", "WHEN", "from then on: 24h (ago), 7d, 2026-01-31")               \
    X(UNTIL, "until", "WHEN", "up to then")                                            \
    X(LIMIT, "limit", "N", "only the newest N")                                        \
    X(RAW, "raw", NULL, "every record by itself")                                      \
    X(FORMAT, "format", "csv|jsonl", "of the export; default csv")                     \
    X(RETRY, "retry", NULL, "queue again what the object store had refused")            \
    X(REPAIR, "repair", NULL, "fetch what is damaged here again from the object store") \
    X(AGAIN, "again", NULL, "from the beginning, not from where an interrupted one ended")

enum args_option {
#define X(id, name, argument, help) ARG_##id,
    ARGS_OPTIONS(X)
#undef X
        ARG_COUNT
};
#define ARG_BIT(id) (UINT64_C(1) << ARG_##id)
#define ARGS_ALWAYS (ARG_BIT(HELP) | ARG_BIT(JSON) | ARG_BIT(CONFIG))
#define ARGS_PASS (ARG_BIT(PASSFILE) | ARG_BIT(PASSFD))

enum { ARGS_WORDS_MAX = 4 };
struct args {
    const char *words[ARGS_WORDS_MAX]; /* what is left beside options */
    int word_count;
    const char *text[ARG_COUNT]; /* of options with an argument; NULL when not given */
    bool is_set[ARG_COUNT];
};

struct args_command {
    const char *name;    /* "identity new" */
    const char *words;   /* "LABEL", for the synopsis */
    const char *purpose; /* one line */
    int words_min;
    int words_max;
    uint64_t options;
    uint64_t required; /* of them */
    int (*run)(struct phr_client *c, const struct args *a);
};

/* Finds the command of these words, in *io_argc/argv style; NULL when there is none. */
const struct args_command *args_find(const struct args_command *all, size_t count,
                                     int argc, char *argv[], int *out_used);
/* PHR_E_USAGE with a sentence in out_why. */
int args_parse(const struct args_command *cmd, int argc, char *argv[],
               struct args *out_args, char *out_why, size_t why_bytes) PHR_MUST_CHECK;
void args_print_help(const struct args_command *cmd);

/* Passphrase by these two options, else the terminal. */
struct phr_passphrase args_get_passphrase(const struct args *a, enum args_option file,
                                          enum args_option fd, const char *prompt);
/* A whole number up to max; PHR_E_USAGE. Not given: fallback. */
int args_number(const struct args *a, enum args_option o, uint64_t fallback, uint64_t max,
                uint64_t *out_number) PHR_MUST_CHECK;
/*
 * 30m 24h 7d from now (is_future) or ago, or a date: then the end of that day, or its beginning.
 * Not given: 0.
 */
int args_time(const struct args *a, enum args_option o, bool is_future,
              uint64_t *out_s) PHR_MUST_CHECK;

#endif
