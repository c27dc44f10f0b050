/* Every domain-separation string, once (CRYPTO section 2). ASCII, never reused. */
#ifndef PHR_CRYPTO_LABEL_H
#define PHR_CRYPTO_LABEL_H

#define LABEL_PRE_POK "phrfs/v1/pre/pok"
#define LABEL_PRE_KEM "phrfs/v1/pre/kem"
#define LABEL_PRE_DH "phrfs/v1/pre/dh"
#define LABEL_PRE_DLEQ "phrfs/v1/pre/dleq"
#define LABEL_POP "phrfs/v1/pop"
#define LABEL_SEAL "phrfs/v1/seal"
#define LABEL_LINK "phrfs/v1/link"
#define LABEL_SEG "phrfs/v1/seg"
#define LABEL_LOG "phrfs/v1/log"
#define LABEL_NAME_TAG "phrfs/v1/name/tag"
#define LABEL_NAME_ROW "phrfs/v1/name/row"
#define LABEL_NAMES_KEY "phrfs/v1/names-key"
#define LABEL_LEDGER "phrfs/v1/ledger"
#define LABEL_OP "phrfs/v1/op"
#define LABEL_PATIENT "phrfs/v1/patient"
#define LABEL_GRANT "phrfs/v1/grant"
#define LABEL_CARD "phrfs/v1/card"
#define LABEL_OPEN "phrfs/v1/open"
#define LABEL_RECEIPT "phrfs/v1/receipt"
#define LABEL_STATE "phrfs/v1/state"
#define LABEL_KEYRING "phrfs/v1/keyring"
#define LABEL_SHARE "phrfs/v1/share"
#define LABEL_FOOTER "phrfs/v1/footer"

#endif
