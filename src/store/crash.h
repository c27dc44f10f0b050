/*
 * A place where a test may end the process: passed before each call that changes the disk.
 * The product links crash_none.c (nothing happens); tests link crash_at.c, where the n-th
 * passage is a SIGKILL, n from crash_arm() or PHR_CRASH_AT.
 */
#ifndef PHR_STORE_CRASH_H
#define PHR_STORE_CRASH_H

void crash_point(void);

#endif
