/*
 * Every reason of ours, once. A result is 0 or negative: kernel reasons stay -errno, ours
 * are below -5000. Numbers are on the wire and in logs, so they are never reused.
 */
#ifndef PHR_ERR_H
#define PHR_ERR_H

#include <errno.h>

/* X(name, number, errno for programs on the mount, exit status of phr, sentence) */
#define PHR_ERRORS(X)                                                                      \
    X(PHR_E_SEAL, -5001, EIO, 20, "stored data failed its integrity check")                \
    X(PHR_E_NO_GRANT, -5002, EACCES, 21, "no grant covers this record")                    \
    X(PHR_E_LOCKED, -5003, ENOKEY, 22, "no identity is unlocked here; run 'phr login'")    \
    X(PHR_E_FORMAT, -5004, EUCLEAN, 23, "not a format this version can read")              \
    X(PHR_E_SIGNATURE, -5005, EIO, 24, "a signature does not verify")                      \
    X(PHR_E_POINT, -5006, EIO, 25, "not a valid group element or scalar")                  \
    X(PHR_E_EXPIRED, -5007, EACCES, 26, "outside its time of validity")                    \
    X(PHR_E_REVOKED, -5008, EACCES, 27, "the grant has been revoked")                      \
    X(PHR_E_STALE, -5009, ESTALE, 28, "the change no longer fits the ledger")              \
    X(PHR_E_STALE_HEADER, -5010, ESTALE, 29, "the header is not the ledger's")             \
    X(PHR_E_FORK, -5011, EIO, 30, "the ledger contradicts what this host has seen")        \
    X(PHR_E_SIDECAR, -5012, EHOSTDOWN, 31, "phrd does not answer; is it running?")         \
    X(PHR_E_STORE, -5013, EREMOTEIO, 32, "the object store does not answer")               \
    X(PHR_E_STORE_REFUSED, -5014, EREMOTEIO, 33, "the object store refused the request")   \
    X(PHR_E_TIMEOUT, -5015, ETIMEDOUT, 34, "no answer in time")                            \
    X(PHR_E_TIME_SKEW, -5016, EACCES, 35, "this clock and the server's differ too much")   \
    X(PHR_E_REPLAY, -5017, EACCES, 36, "this request has been seen before")                \
    X(PHR_E_AUDIT, -5018, EIO, 37, "the access cannot be recorded, so it is refused")      \
    X(PHR_E_PASSPHRASE, -5019, EACCES, 38, "wrong passphrase, or a damaged keyring")       \
    X(PHR_E_CONFIG, -5020, EINVAL, 39, "the configuration is not valid")                   \
    X(PHR_E_UNKNOWN_ID, -5021, ENOENT, 40, "no identity, patient or compartment of that name") \
    X(PHR_E_EXISTS, -5022, EEXIST, 41, "that name is taken")                               \
    X(PHR_E_CARD, -5023, EACCES, 42, "the identity card is not valid")                     \
    X(PHR_E_RIGHTS, -5024, EACCES, 43, "the grant does not cover this operation")          \
    X(PHR_E_AUDIT_BROKEN, -5025, EIO, 44, "the audit log does not verify")                 \
    X(PHR_E_BUSY, -5026, EBUSY, 45, "in use by another process")                           \
    X(PHR_E_LIMIT, -5027, EOVERFLOW, 46, "a named limit is reached")                       \
    X(PHR_E_PENDING, -5028, EIO, 47, "the answer comes later")                             \
    X(PHR_E_CLOSED, -5029, EIO, 48, "the other side closed the connection")                \
    X(PHR_E_PROTOCOL, -5030, EPROTO, 49, "the other side broke the protocol")              \
    X(PHR_E_EPOCH_HELD, -5031, EAGAIN, 50, "the compartment's keys are being changed")     \
    X(PHR_E_ROLLBACK, -5032, EIO, 51, "older than what this host has seen: rolled back")   \
    X(PHR_E_USAGE, -5033, EINVAL, 2, "wrong usage; see --help")                            \
    X(PHR_E_MEMLOCK, -5034, ENOMEM, 52, "secrets cannot be locked in memory; raise 'ulimit -l'") \
    X(PHR_E_SELFTEST, -5035, EIO, 53, "a cryptographic self-test failed")                  \
    X(PHR_E_NO_HEADER, -5036, EIO, 54, "the ledger has no header for this file yet")

enum phr_err {
#define X(name, number, sys, status, text) name = (number),
    PHR_ERRORS(X)
#undef X
};

#define PHR_MUST_CHECK __attribute__((warn_unused_result))

/* The sentence for any result (ours or -errno); static storage, never NULL. */
const char *phr_err_text(int rc);

/* The positive errno that a program on the mount sees for any negative result. */
int phr_err_errno(int rc);

/* The exit status of the command line for any result; 0 for 0. */
int phr_err_exit(int rc);

/* The symbolic name ("PHR_E_SEAL"), or "errno" for kernel reasons; static storage. */
const char *phr_err_name(int rc);

#endif
