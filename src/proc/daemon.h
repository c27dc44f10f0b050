/*
 * From a command somebody waits for to a server nobody waits for. Whoever started us gets our
 * exit status: 0 only when we really serve (readiness pipe), and the sentence on stderr of
 * why not otherwise. Under systemd the same moment is READY=1.
 */
#ifndef PHR_PROC_DAEMON_H
#define PHR_PROC_DAEMON_H

#include <stdbool.h>

#include "phr/err.h"

struct daemon {
    int ready_fd;         /* -1 in the foreground */
    bool is_background;
    const char *program;  /* for the journal */
    const char *log_path; /* appended to where there is no journal; NULL: such lines are lost */
};

/*
 * Before threads and keys. In the background: the parent waits here and exits with what the
 * child says by daemon_ready or daemon_failed, or with 1 when it dies; only the child returns.
 */
int daemon_start(struct daemon *d, const char *program, const char *log_path, bool foreground)
    PHR_MUST_CHECK;
/* We serve: lets go of terminal, stdin, stdout and stderr, tells systemd and the parent. */
void daemon_ready(struct daemon *d);
/* We do not: the parent exits with this status. The caller has said why on stderr. */
void daemon_failed(struct daemon *d, int exit_status);
/* One sentence for `systemctl status`. */
void daemon_say(const char *sentence);
void daemon_stopping(void);
/* How often the watchdog wants to hear from us, 0 for never; and hearing it. */
unsigned daemon_watchdog_ms(void);
void daemon_alive(void);

#endif
