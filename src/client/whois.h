/* Ids to what people call them: cards of the realm, keyrings that lie here, an unlocked keyring. */
#ifndef PHR_CLIENT_WHOIS_H
#define PHR_CLIENT_WHOIS_H

#include "client/client.h"

struct whois;
enum { WHOIS_NAME_BYTES = DISPLAY_NAME_BYTES_MAX + 1 };

/* viewer may be NULL; it is borrowed for the life of the object. */
int whois_new(struct phr_client *c, const struct phr_identity *viewer,
              struct whois **out_whois) PHR_MUST_CHECK;
void whois_free(struct whois *w);
/* Always something: label, a patient's id as typed, else hex; "" for the zero id. */
void whois_user(const struct whois *w, const struct id16 *user,
                char out[WHOIS_NAME_BYTES]);
void whois_class(const struct whois *w, const struct id16 *patient,
                 const struct id16 *class_id, char out[WHOIS_NAME_BYTES]);

SCOPED_HANDLE(struct whois, whois_free)

#endif
