#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "output.h"

enum { DAYS_MAX = 36500 };

static const char *const role_names[] = { "",        "person",    "service", "group",
                                          "patient", "authority", "server" };

static int parse_role(const char *text, enum phr_role *out)
{
    *out = PHR_ROLE_PERSON;
    for (int i = PHR_ROLE_PERSON; text && i <= PHR_ROLE_GROUP; i++) {
        if (strcmp(text, role_names[i]) == 0) {
            *out = (enum phr_role)i;
            return 0;
        }
    }
    return text ? PHR_E_USAGE : 0;
}

int cmd_identity_new(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "New passphrase");
    struct phr_identity_wish wish = { .label = a->words[0],
                                      .keyring_user = a->text[ARG_FOR] };
    int rc = parse_role(a->text[ARG_ROLE], &wish.role);

    if (rc == 0)
        rc = args_number(a, ARG_DAYS, 0, DAYS_MAX, &wish.valid_days);
    if (rc == 0)
        rc = phr_identity_new(c, &wish, &pass);
    if (rc < 0)
        return rc;
    return output_done(a, json_pack("{s:s}", "label", wish.label),
                       "Keys for %s are made; the request waits for the authority:\n"
                       "phr identity approve %s",
                       wish.label, wish.label);
}

static json_t *pack_info(const struct phr_identity_info *i)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:I,s:I}", "label", i->label,
                     "user", i->user, "role", role_names[i->role], "fingerprint",
                     i->fingerprint, "approved", i->is_approved, "valid", i->is_valid,
                     "keyring_here", i->has_keyring, "not_before",
                     (json_int_t)i->not_before_s, "not_after", (json_int_t)i->not_after_s,
                     "serial", (json_int_t)i->serial);
}

static int on_listed(void *user, const struct phr_identity_info *i)
{
    json_t *list = user;

    if (list)
        return json_array_append_new(list, pack_info(i)) < 0 ? -ENOMEM : 0;
    printf("%-24s %-9s %-9s %s\n", i->label[0] ? i->label : i->user, role_names[i->role],
           !i->is_approved ? "waits"
           : i->is_valid   ? "valid"
                           : "not valid",
           output_time(i->not_after_s));
    return 0;
}

int cmd_identity_list(struct phr_client *c, const struct args *a)
{
    json_t *list = a->is_set[ARG_JSON] ? json_array() : NULL;
    int rc = phr_identity_each(c, on_listed, list);

    if (rc < 0 || !list) {
        json_decref(list);
        return rc;
    }
    return output_json(list);
}

int cmd_identity_show(struct phr_client *c, const struct args *a)
{
    struct phr_identity_info i;
    int rc = phr_identity_show(c, a->words[0], &i);

    if (rc < 0)
        return rc;
    if (a->is_set[ARG_JSON])
        return output_json(pack_info(&i));
    printf("label        %s\nrole         %s\nuser         %s\nfingerprint  %s\nstate    "
           "    %s\n",
           i.label, role_names[i.role], i.user, i.fingerprint,
           !i.is_approved ? "waits for the authority"
           : i.is_valid   ? "valid"
                          : "not valid");
    printf("valid until  %s\nkeyring      %s\n", output_time(i.not_after_s),
           i.has_keyring ? "here" : "elsewhere");
    return 0;
}

int cmd_identity_approve(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase of the authority");
    int rc = phr_identity_approve(c, a->words[0], &pass);

    return rc < 0 ? rc
                  : output_done(a, json_pack("{s:s}", "label", a->words[0]),
                                "%s has a card: realm/cards/%s.card", a->words[0],
                                a->words[0]);
}

int cmd_identity_suspend(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase of the authority");
    const bool is_back = a->is_set[ARG_BACK];
    int rc = phr_identity_suspend(c, a->words[0], is_back, &pass);

    return rc < 0 ? rc
                  : output_done(a, json_pack("{s:s}", "label", a->words[0]),
                                is_back ? "%s may open again what is granted to it."
                                        : "The server opens nothing for %s any more. Its "
                                          "grants stay: revoke them "
                                          "where keys shall change.",
                                a->words[0]);
}

int cmd_identity_passwd(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase old_pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase");
    const struct phr_passphrase new_pass =
        args_get_passphrase(a, ARG_NEW_PASSFILE, ARG_NEW_PASSFD, "New passphrase");
    int rc = phr_identity_passwd(c, a->words[0], &old_pass, &new_pass);

    return rc < 0 ? rc
                  : output_done(a, NULL,
                                "The keyring has a new passphrase. Copies of the old "
                                "file still open "
                                "with the old one.");
}
