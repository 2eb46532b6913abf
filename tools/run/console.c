/* Progress on the terminal, and the signals that stop the work. */
#include "tools/run/console.h"
#include "tools/messages.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopped; /* set by SIGINT, SIGTERM, SIGHUP */

static void on_signal(int signal)
{
    (void)signal;
    stopped = 1;
}

void console_watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)SA_RESETHAND}; /* a second one ends it */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* SIGHUP: the terminal is closed; a program started with nohup ignores it */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    sigaction(SIGPIPE, &ignore,
              NULL); /* a run of hours survives the end of the program that reads its progress */
}

bool console_stopped(void)
{
    return stopped;
}

static void print_bar(const vdm_report *r)
{
    int width = 24, full = r->of ? (int)((double)width * r->step / r->of) : 0;
    fprintf(stderr, "\r\033[K%-7s [", r->phase);
    for (int i = 0; i < width; i++) fputc(i < full ? '#' : '.', stderr);
    fprintf(stderr, "] %d/%d", r->step, r->of);
}

static int report(void *user, const vdm_report *r)
{
    console *c = user;
    double now = vdm_seconds();
    bool ended = r->step == r->of, changed = !c->phase || strcmp(c->phase, r->phase) != 0;
    if (changed) {
        console_end(c);
        c->before = r->step > 1 ? r->step : 0; /* a phase that is not resumed begins with step 0 or 1 */
        c->start = r->step > 1 ? r->seconds : 0;
    }
    int timed = r->step - c->before;
    double each = timed ? (r->seconds - c->start) / timed : 0;
    if (ended || changed || now - c->last >= (c->terminal ? 0.1 : 10)) {
        char left[32], speed[32];
        format_seconds(left, sizeof left, each * (r->of - r->step));
        format_seconds(speed, sizeof speed, each);
        if (c->terminal)
            print_bar(r);
        else
            fprintf(stderr, "%-7s %d/%d", r->phase, r->step, r->of);
        if (isfinite(r->loss)) fprintf(stderr, "  loss %.4f", r->loss);
        if (timed) fprintf(stderr, "  %s each  %s left", speed, left);
        if (c->note[0]) fprintf(stderr, "  (%s)", c->note);
        if (!c->terminal) fputc('\n', stderr);
        c->phase = r->phase;
        c->last = now;
    }
    if (ended) console_end(c);
    return stopped;
}

void console_end(console *c)
{
    if (c->phase && c->terminal) fputc('\n', stderr);
    c->phase = NULL;
}

void console_clear(console *c)
{
    if (!c->terminal) return;
    if (c->phase) fputs("\r\033[K", stderr);
    c->last = 0; /* the bar is printed again at once */
}

vdm_progress console_progress(console *c)
{
    *c = (console){.terminal = isatty(STDERR_FILENO) == 1};
    vdm_progress p = {.report = report, .user = c};
    return p;
}
