/* How SQLite's log of namespace.db reaches the kernel: see nsdb_wal.c. */
#ifndef PHR_VAULT_NSDB_WAL_H
#define PHR_VAULT_NSDB_WAL_H

#include "base/scope.h"

/*
 * Makes the file layer known to SQLite; once per process, before the first connection. Its
 * name, or NULL when SQLite could not be started.
 */
const char *nsdb_wal_vfs(void);

#endif
