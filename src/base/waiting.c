#include "base/waiting.h"

#include <stddef.h>

static _Thread_local void (*watcher)(void *user);
static _Thread_local void *watcher_user;

void waiting_set_watcher(void (*about_to_wait)(void *user), void *user)
{
    watcher = about_to_wait;
    watcher_user = user;
}

bool waiting_is_watched(void)
{
    return watcher != NULL;
}

void waiting_begin(void)
{
    void (*tell)(void *user) = watcher;

    watcher = NULL;
    if (tell)
        tell(watcher_user);
}
