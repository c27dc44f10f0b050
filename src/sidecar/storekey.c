#include "sidecar/storekey.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/hex.h"

enum { ID_HEX = 32, SEQ_DIGITS = 20 };

static void patient_hex(const struct id16 *patient, char out[ID_HEX + 1])
{
    hex_encode(patient->b, sizeof patient->b, out);
}

void storekey_object(const struct id16 *patient, const struct digest *id, char out[STOREKEY_BYTES])
{
    char who[ID_HEX + 1];
    char what[65];

    patient_hex(patient, who);
    hex_encode(id->b, sizeof id->b, what);
    snprintf(out, STOREKEY_BYTES, "p/%s/o/%s", who, what);
}

void storekey_entry(const struct id16 *patient, uint64_t seq, char out[STOREKEY_BYTES])
{
    char who[ID_HEX + 1];

    patient_hex(patient, who);
    snprintf(out, STOREKEY_BYTES, "p/%s/l/%020" PRIu64, who, seq);
}

void storekey_ledger(const struct id16 *patient, char out[STOREKEY_BYTES])
{
    char who[ID_HEX + 1];

    if (!patient) {
        memcpy(out, "p/", sizeof "p/");
        return;
    }
    patient_hex(patient, who);
    snprintf(out, STOREKEY_BYTES, "p/%s/l/", who);
}

void storekey_checkpoint(uint64_t size, char out[STOREKEY_BYTES])
{
    snprintf(out, STOREKEY_BYTES, "audit/checkpoint/%020" PRIu64, size);
}

int storekey_parse_entry(const char *key, struct id16 *out_patient, uint64_t *out_seq)
{
    char who[ID_HEX + 1] = { 0 };
    const char *digits;
    struct id16 patient;
    uint64_t seq = 0;

    if (strlen(key) != 2 + ID_HEX + 3 + SEQ_DIGITS || memcmp(key, "p/", 2) != 0 ||
        memcmp(key + 2 + ID_HEX, "/l/", 3) != 0)
        return PHR_E_FORMAT;
    memcpy(who, key + 2, ID_HEX);
    if (hex_decode(who, patient.b, sizeof patient.b) < 0)
        return PHR_E_FORMAT;
    digits = key + 2 + ID_HEX + 3;
    for (size_t i = 0; i < SEQ_DIGITS; i++) {
        uint64_t digit = (uint64_t)(digits[i] - '0');

        if (digits[i] < '0' || digits[i] > '9' || !checked_mul(seq, UINT64_C(10), &seq) ||
            !checked_add(seq, digit, &seq))
            return PHR_E_FORMAT;
    }
    *out_patient = patient;
    *out_seq = seq;
    return 0;
}
