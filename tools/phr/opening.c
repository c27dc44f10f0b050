#include "opening.h"

int opening_owner(struct phr_client *c, const struct args *a, const char *word,
                  struct opened *out)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase of the owner");
    int rc;

    *out = (struct opened){ 0 };
    rc = output_place(word, &out->place);
    if (rc == 0)
        rc = phr_identity_unlock(c, out->place.patient, a->text[ARG_KEYRING], &pass,
                                 &out->identity);
    if (rc == 0)
        rc = phr_owner_open(c, out->identity, PHR_OWNER_RESUME, &out->owner);
    if (rc < 0)
        opening_end(out);
    return rc;
}

int opening_viewer(struct phr_client *c, const struct args *a,
                   struct phr_identity **out_identity)
{
    const struct phr_passphrase pass =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "Passphrase");

    *out_identity = NULL;
    if (!a->text[ARG_AS] && !a->text[ARG_KEYRING])
        return 0;
    return phr_identity_unlock(c, a->text[ARG_AS], a->text[ARG_KEYRING], &pass,
                               out_identity);
}

void opening_end(struct opened *o)
{
    phr_owner_close(o->owner);
    phr_identity_lock(o->identity);
    o->owner = NULL;
    o->identity = NULL;
}
