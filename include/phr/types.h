/* Plain byte types that every part of phrfs shares. */
#ifndef PHR_TYPES_H
#define PHR_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else owns. */
struct view {
    const uint8_t *p;
    size_t n;
};

/* Room that somebody else owns, to be written. */
struct span {
    uint8_t *p;
    size_t n;
};

/* A random or derived 16-byte name: patient, class, file, grant, user, host, row. */
struct id16 {
    uint8_t b[16];
};

/* A SHA-256 value. */
struct digest {
    uint8_t b[32];
};

/* An encoded ristretto255 element; public. */
struct point {
    uint8_t b[32];
};

/* An Ed25519 public key. */
struct verify_key {
    uint8_t b[32];
};

/* An Ed25519 signature. */
struct signature {
    uint8_t b[64];
};

/* SECRET: a canonical scalar modulo the group order. Lives in the secret arena. */
struct scalar {
    uint8_t b[32];
};

/* SECRET: a symmetric key. Lives in the secret arena. */
struct symkey {
    uint8_t b[32];
};

#endif
