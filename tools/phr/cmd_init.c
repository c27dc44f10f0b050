#include "cmd.h"
#include "output.h"

int cmd_init(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase pass = args_get_passphrase(
        a, ARG_PASSFILE, ARG_PASSFD, "New passphrase of the authority");
    const struct phr_realm_wish wish = { .store_url = a->text[ARG_STORE],
                                         .store_credentials = a->text[ARG_CREDENTIALS] };
    int rc = phr_realm_init(c, &wish, &pass);

    if (rc < 0)
        return rc;
    return output_done(
        a, NULL,
        "The realm is made. Keep the authority's keyring (keys/authority.keyring) and "
        "its\n"
        "passphrase safe: who has both can approve identities. Next: start phrd, then\n"
        "'phr identity new LABEL' and 'phr patient add ID'.");
}
