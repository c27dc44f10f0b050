/* What store.c and container.c share. */
#ifndef PHR_STORE_STORE_STATE_H
#define PHR_STORE_STORE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/container.h"

enum {
    STORE_DIR_CONTAINERS = 4096, /* per rolling directory */
    STORE_FDS_MAX = 256,         /* open containers; far below any RLIMIT_NOFILE */
    STORE_NAME_BYTES = 64
};

/* An open container in the cache. */
struct store_fd {
    uint64_t id;           /* 0: free slot */
    int fd;
    unsigned users;        /* calls under way; only 0 may be closed */
    uint64_t used_at;      /* tick of the last use */
    struct store_fd *next; /* bucket */
};

struct store_freed {
    struct loc loc; /* len 0: the whole container */
    struct store_freed *next;
};

struct store {
    int dir_fd; /* data/ */
    uint64_t floor_bytes;
    pthread_mutex_t dir_lock; /* before lock: directories are being fsynced */
    pthread_mutex_t pack_lock; /* before lock */
    uint64_t pack;      /* pack_lock: where small objects go; 0: none yet */
    uint64_t pack_page; /* pack_lock: its first page that was not given out */
    uint64_t pack_zeroed; /* pack_lock: pages below are zeros or given out; 0: none was zeroed */

    pthread_mutex_t read_lock; /* leaf: where packs are being read (PACK-4) */
    struct pack_reader {
        uint64_t file;    /* the pack */
        uint64_t end;     /* of the last read */
        uint64_t ahead;   /* the kernel was told to fetch as far as here */
        unsigned in_a_row;
    } reader;
    struct ahead *ahead;

    pthread_mutex_t lock; /* leaf: nothing is called with it held but open, close, mkdir */
    uint64_t next;        /* lock */
    uint64_t first_of_run; /* containers of earlier runs are below */
    uint64_t dir_made;    /* lock: this directory exists; UINT64_MAX: none yet */
    uint64_t tick;        /* lock */
    struct store_fd fds[STORE_FDS_MAX];        /* lock */
    struct store_fd *buckets[STORE_FDS_MAX];   /* lock */
    uint64_t sync_dir; /* lock: newest directory with an entry that was not fsynced, +1; 0 none */
    uint64_t sync_dir_below; /* lock: an older one, the same */

    _Atomic uint64_t room_at_ms; /* when room_bytes was read; 0: never */
    _Atomic int64_t room_bytes;  /* above the floor; may be negative */

    pthread_mutex_t free_lock; /* leaf */
    pthread_cond_t free_wake;
    struct store_freed *freed;      /* free_lock */
    struct store_freed **freed_end; /* free_lock */
    bool is_freeing;                /* free_lock */
    bool is_stopping;               /* free_lock */
    bool has_thread;
    pthread_t thread;
};

void store_dir_name(uint64_t number, char out[STORE_NAME_BYTES]);
/* A pathname below data/. */
void store_container_name(uint64_t id, char out[STORE_NAME_BYTES]);

#endif
