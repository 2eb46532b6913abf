/* Progress on the terminal, and the signals that stop the work. */
#ifndef VDM_CONSOLE_H
#define VDM_CONSOLE_H

#include "vdm.h"

/* Progress on stderr: a bar on a terminal, elsewhere a line from time to time. SIGINT, SIGTERM and SIGHUP ask the work
 * to stop. */
typedef struct console {
    bool terminal;
    double last;       /* when something was printed */
    const char *phase; /* on the line now */
    int before;        /* steps of the phase before those that are timed: of a run that is resumed */
    double start;      /* r->seconds at `before` */
    char note[64];     /* printed at the end of the line */
} console;
vdm_progress console_progress(console *c);
void console_end(console *c);   /* ends the line */
void console_clear(console *c); /* removes the line, so that another can be printed above the bar */
void console_watch_signals(void);
bool console_stopped(void); /* a signal arrived: a failure from now on means that the work was stopped */

#endif
