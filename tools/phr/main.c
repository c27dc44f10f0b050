/* phr: the command line. This file is the table of what can be asked; cmd_*.c answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "output.h"

#define AUTHORITY (ARG_BIT(AUTHORITY_PASSFILE) | ARG_BIT(AUTHORITY_PASSFD))
#define NEW_PASS (ARG_BIT(NEW_PASSFILE) | ARG_BIT(NEW_PASSFD))
#define FILTERS                                                                          \
    (ARG_BIT(WHO) | ARG_BIT(PATIENT) | ARG_BIT(OP) | ARG_BIT(OUTCOME) | ARG_BIT(SINCE) | \
     ARG_BIT(UNTIL) | ARG_BIT(LIMIT) | ARG_BIT(AS) | ARG_BIT(KEYRING) | ARGS_PASS)
#define OWNER (ARGS_PASS | ARG_BIT(KEYRING))

/* clang-format off */
static const struct args_command commands[] = {
    { "init", "", "Make a realm on this machine: authority, server, object store.", 0, 0,
      ARGS_PASS | ARG_BIT(STORE) | ARG_BIT(CREDENTIALS), 0, cmd_init },
    { "identity new", "LABEL", "Make keys for a person, service or group, and ask the authority for a card.", 1, 1,
      ARGS_PASS | ARG_BIT(ROLE) | ARG_BIT(DAYS) | ARG_BIT(FOR), 0, cmd_identity_new },
    { "identity list", "", "Show the realm's identities: cards, and requests that wait.", 0, 0, 0, 0, cmd_identity_list },
    { "identity show", "LABEL", "Show one identity.", 1, 1, 0, 0, cmd_identity_show },
    { "identity approve", "LABEL", "Sign a request with the authority's key.", 1, 1, ARGS_PASS, 0, cmd_identity_approve },
    { "identity suspend", "LABEL", "Have the server refuse an identity.", 1, 1, ARGS_PASS | ARG_BIT(BACK), 0, cmd_identity_suspend },
    { "passwd", "LABEL", "Change the passphrase of a keyring.", 1, 1, ARGS_PASS | NEW_PASS, 0, cmd_identity_passwd },
    { "patient add", "ID", "Add a patient: keys of the owner, and the six compartments.", 1, 1,
      ARGS_PASS | AUTHORITY | ARG_BIT(NAME) | ARG_BIT(FOR), 0, cmd_patient_add },
    { "compartment list", "PATIENT", "Show a patient's compartments.", 1, 1, OWNER, 0, cmd_patient_compartments },
    { "compartment add", "PATIENT/NAME", "Add a compartment with keys of its own.", 1, 1, OWNER, 0, cmd_patient_compartment_add },
    { "grant", "PATIENT[/COMPARTMENT]", "Let somebody read, or read and write.", 1, 1,
      OWNER | ARG_BIT(TO) | ARG_BIT(RIGHTS) | ARG_BIT(EXPIRES) | ARG_BIT(PURPOSE) | ARG_BIT(MAX_OPENS), ARG_BIT(TO), cmd_grant_add },
    { "grants", "PATIENT[/COMPARTMENT]", "Show who may read what.", 1, 1, OWNER | ARG_BIT(ALL), 0, cmd_grant_list },
    { "revoke", "PATIENT[/COMPARTMENT]", "Take a right away, change the keys, and cut the reader off.", 1, 1,
      OWNER | ARG_BIT(FROM) | ARG_BIT(WAIT) | ARG_BIT(RESUME), 0, cmd_revoke },
    { "login", "[LABEL]", "Unlock an identity for this user on a mount.", 0, 1,
      ARGS_PASS | ARG_BIT(KEYRING) | ARG_BIT(MOUNT) | ARG_BIT(PURPOSE), 0, cmd_mount_login },
    { "logout", "", "Lock this user's identity on a mount again.", 0, 1, ARG_BIT(MOUNT), 0, cmd_mount_logout },
    { "mount", "DIR", "Start what is needed, and mount.", 1, 1, ARG_BIT(OPTIONS), 0, cmd_mount_start },
    { "umount", "DIR", "Unmount.", 1, 1, 0, 0, cmd_mount_stop },
    { "status", "", "Show the server, the store and the mounts.", 0, 0, ARG_BIT(MOUNT), 0, cmd_status },
    { "sync", "", "Upload what has not left this machine; 0 only when nothing is left.", 0, 0,
      ARG_BIT(MOUNT) | ARG_BIT(WAIT) | ARG_BIT(TIMEOUT) | ARG_BIT(RETRY), 0, cmd_status_sync },
    { "conflicts", "", "Show files that were changed in two places.", 0, 0, ARG_BIT(MOUNT), 0, cmd_status_conflicts },
    { "check", "", "Read and verify everything that is stored on this machine.", 0, 0,
      ARG_BIT(MOUNT) | ARG_BIT(REPAIR) | ARG_BIT(AGAIN), 0, cmd_status_check },
    { "audit show", "", "Show who did what.", 0, 0, FILTERS | ARG_BIT(RAW), 0, cmd_audit_show },
    { "audit verify", "", "Prove that the log is whole and was not edited.", 0, 0,
      ARG_BIT(AS) | ARG_BIT(KEYRING) | ARGS_PASS, 0, cmd_audit_verify },
    { "audit export", "", "Write the log for other programs.", 0, 0, FILTERS | ARG_BIT(FORMAT), 0, cmd_audit_export },
};
/* clang-format on */

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0], WHY_BYTES = 512 };

static void print_usage(FILE *to)
{
    fputs("usage: phr COMMAND [words] [options]\n\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-18s %-22s %s\n", commands[i].name, commands[i].words,
                commands[i].purpose);
    fputs("\nphr COMMAND --help says more; see phr(1).\n", to);
}

static int report(const struct args *a, int rc, const char *why)
{
    const char *text = why && why[0] ? why : phr_err_text(rc);
    json_t *error;

    output_progress_end();
    fprintf(stderr, "phr: %s\n", text);
    if (a->is_set[ARG_JSON] && !output_is_json_printed()) {
        error = json_pack("{s:{s:s,s:s,s:i}}", "error", "name", phr_err_name(rc), "text",
                          text, "number", rc);
        if (output_json(error) < 0)
            fputs("phr: out of memory\n", stderr);
    }
    return phr_err_exit(rc);
}

static int run(const struct args_command *cmd, int argc, char *argv[])
{
    struct phr_client *c = NULL;
    struct args a;
    char why[WHY_BYTES] = "";
    int status;
    int rc = args_parse(cmd, argc, argv, &a, why, sizeof why);

    if (rc == 0 && a.is_set[ARG_HELP]) {
        args_print_help(cmd);
        return EXIT_SUCCESS;
    }
    if (rc == 0)
        rc = phr_client_open(a.text[ARG_CONFIG], &c, why, sizeof why);
    if (rc < 0)
        return report(&a, rc, why);
    phr_client_on_progress(c, output_progress, NULL);
    rc = cmd->run(c, &a);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        rc = -EIO;
    status = rc < 0 ? report(&a, rc, phr_client_get_why(c)) : EXIT_SUCCESS;
    phr_client_close(c);
    return status;
}

int main(int argc, char *argv[])
{
    const struct args_command *cmd;
    int used = 0;

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? phr_err_exit(PHR_E_USAGE) : EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("phr " PHR_VERSION);
        return EXIT_SUCCESS;
    }
    cmd = args_find(commands, COMMAND_COUNT, argc - 1, argv + 1, &used);
    if (!cmd) {
        fprintf(stderr, "phr: there is no command '%s'; see phr --help\n", argv[1]);
        return phr_err_exit(PHR_E_USAGE);
    }
    return run(cmd, argc - 1 - used, argv + 1 + used);
}
