#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd.h"
#include "output.h"

int cmd_mount_start(struct phr_client *c, const struct args *a)
{
    int rc = phr_mount_start(c, a->words[0], a->text[ARG_OPTIONS]);

    return rc < 0 ? rc
                  : output_done(a, NULL, "%s is mounted. Next: phr login LABEL",
                                a->words[0]);
}

int cmd_mount_stop(struct phr_client *c, const struct args *a)
{
    int rc = phr_mount_stop(c, a->words[0]);

    return rc < 0 ? rc : output_done(a, NULL, "%s is unmounted.", a->words[0]);
}

/* Without a label: whoever is called like the system user. */
static const char *default_label(void)
{
    const struct passwd *pw = getpwuid(getuid());

    return pw ? pw->pw_name : NULL;
}

int cmd_mount_login(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase");
    const char *label = a->word_count ? a->words[0] : default_label();
    struct phr_identity *i = NULL;
    int rc = label ? phr_identity_unlock(c, label, a->text[ARG_KEYRING], &pass, &i)
                   : PHR_E_USAGE;

    if (rc == 0)
        rc = phr_mount_login(c, a->text[ARG_MOUNT], i, a->text[ARG_PURPOSE]);
    phr_identity_lock(i);
    return rc < 0 ? rc
                  : output_done(a, json_pack("{s:s}", "label", label),
                                "%s is unlocked for this user.", label);
}

int cmd_mount_logout(struct phr_client *c, const struct args *a)
{
    uint32_t unsealed = 0;
    int rc = phr_mount_logout(c, a->text[ARG_MOUNT], &unsealed);

    if (rc < 0)
        return rc;
    if (unsealed > 0)
        return output_done(a, json_pack("{s:i}", "unsealed", (int)unsealed),
                           "Locked. %u changed file%s stay%s on this machine, safe, "
                           "until the next login uploads them.",
                           unsealed, unsealed == 1 ? "" : "s", unsealed == 1 ? "s" : "");
    return output_done(a, json_pack("{s:i}", "unsealed", 0), "Locked.");
}
