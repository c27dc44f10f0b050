#include <inttypes.h>
#include <stdio.h>

#include "cmd.h"
#include "opening.h"

int cmd_patient_add(struct phr_client *c, const struct args *a)
{
    const struct phr_passphrase owner =
        args_get_passphrase(a, ARG_PASSFILE, ARG_PASSFD, "New passphrase of the patient");
    const struct phr_passphrase authority = args_get_passphrase(
        a, ARG_AUTHORITY_PASSFILE, ARG_AUTHORITY_PASSFD, "Passphrase of the authority");
    const struct phr_patient_wish wish = { .id = a->words[0],
                                           .name = a->text[ARG_NAME],
                                           .keyring_user = a->text[ARG_FOR],
                                           .owner = &owner,
                                           .authority = &authority };
    char patient[33];
    int rc = phr_patient_add(c, &wish, patient);

    return rc < 0
               ? rc
               : output_done(
                     a, json_pack("{s:s,s:s}", "id", wish.id, "patient", patient),
                     "%s is a patient of this realm (%s). Without keys/%s.keyring and "
                     "its passphrase\n"
                     "nobody can ever grant or recover these records: make a copy now.",
                     wish.id, patient, wish.id);
}

static int on_compartment(void *user, const struct phr_compartment_info *i)
{
    json_t *list = user;

    if (list)
        return json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:I,s:I,s:b}", "name",
                                                     i->name, "id", i->id, "epoch",
                                                     (int)i->epoch, "files",
                                                     (json_int_t)i->file_count, "grants",
                                                     (json_int_t)i->grant_count,
                                                     "unfinished", i->is_unfinished)) < 0
                   ? -ENOMEM
                   : 0;
    printf("%-24s epoch %-4" PRIu32 " %6" PRIu64 " files %4" PRIu64 " grants%s\n",
           i->name, i->epoch, i->file_count, i->grant_count,
           i->is_unfinished ? "  (keys are being changed)" : "");
    return 0;
}

int cmd_patient_compartments(struct phr_client *c, const struct args *a)
{
    struct opened o;
    json_t *list = a->is_set[ARG_JSON] ? json_array() : NULL;
    int rc = opening_owner(c, a, a->words[0], &o);

    if (rc == 0)
        rc = phr_compartment_each(o.owner, on_compartment, list);
    opening_end(&o);
    if (rc < 0 || !list) {
        json_decref(list);
        return rc;
    }
    return output_json(list);
}

int cmd_patient_compartment_add(struct phr_client *c, const struct args *a)
{
    struct opened o;
    int rc = opening_owner(c, a, a->words[0], &o);

    if (rc == 0 && !o.place.compartment)
        rc = PHR_E_USAGE;
    if (rc == 0)
        rc = phr_compartment_add(o.owner, o.place.compartment);
    opening_end(&o);
    return rc < 0 ? rc : output_done(a, NULL, "%s is there.", a->words[0]);
}
