/* SPDX-License-Identifier: MIT */
/*
 * How far long work is. With -p, qemu-img's percents on stdout. On a terminal,
 * without being asked, a line that is alive, on stderr: percents, rate, what
 * was saved, time left; it goes away at the end, and work of more than a second
 * leaves one line that sums it up. SIGUSR1 prints percents, as with qemu-img.
 *
 * Signals that end the program are caught here, for work that knows how to come
 * to an end: the first one asks for that, the second one kills.
 */
#include "cmd/img/img.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NS 1000000000LL

/* Written by signal handlers: there is no other way to reach them. */
static volatile sig_atomic_t stop_signal, tell_signal;
static bool stopping;           /* stop_signal is set, for those who were given its address */

typedef enum ProgressMode { PROGRESS_NONE, PROGRESS_PERCENT, PROGRESS_LIVE } ProgressMode;

struct Progress {
    const char *what;           /* "converted" */
    ProgressMode mode;
    double step, shown_percent;
    uint64_t total, done, saved;
    const char *how;            /* saved: "not stored" */
    int64_t began, shown_at;
    uint64_t shown_done;
    double rate;                /* bytes a second, of the last seconds more than of those before */
    bool line;                  /* the live line is on the terminal */
};

static void on_stop(int sig)
{
    stop_signal = sig;
    *(volatile bool *)&stopping = true;
}

static void on_tell(int sig)
{
    tell_signal = sig;
}

static void catch_signals(void)
{
    struct sigaction stop = { .sa_handler = on_stop, .sa_flags = SA_RESETHAND };
    struct sigaction tell = { .sa_handler = on_tell, .sa_flags = SA_RESTART };

    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGHUP, &stop, NULL);
    sigaction(SIGUSR1, &tell, NULL);
}

bool img_stopping(void)
{
    return stop_signal;
}

const bool *img_stop_flag(void)
{
    return &stopping;
}

Err *img_stopped(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *how = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    const char *name = stop_signal == SIGINT ? "Ctrl-C" : stop_signal == SIGTERM ? "SIGTERM" : "SIGHUP";
    return err_hint(err(ERR_BUSY, "stopped by %s", name), "%s", how);
}

/* A shell wants to see that it was the signal: a loop around us ends, too. */
void img_end_of_signal(void)
{
    if (!stop_signal)
        return;
    signal(stop_signal, SIG_DFL);
    raise(stop_signal);
}

void progress_begin(Img *im, const char *what, double step)
{
    Progress *p = g_new0(Progress, 1);
    bool terminal = isatty(STDERR_FILENO);

    p->what = what;
    p->step = step;
    p->began = p->shown_at = loop_now();
    if (im->a.quiet)
        p->mode = PROGRESS_NONE;
    else if (terminal && (isatty(STDOUT_FILENO) || !im->a.progress))
        p->mode = PROGRESS_LIVE;
    else
        p->mode = im->a.progress ? PROGRESS_PERCENT : PROGRESS_NONE;
    im->progress = p;
    catch_signals();
    if (p->mode == PROGRESS_PERCENT) {
        printf("    (0.00/100%%)\r");
        fflush(stdout);
    }
}

void progress_total(Img *im, uint64_t total)
{
    im->progress->total = total;
}

void progress_saved(Img *im, uint64_t bytes, const char *how)
{
    im->progress->saved = bytes;
    im->progress->how = how;
}

static double percent(const Progress *p)
{
    return p->total ? 100.0 * (double)p->done / (double)p->total : 0;
}

static void print_percent(Progress *p, double now)
{
    p->shown_percent = now;
    printf("    (%3.2f/100%%)\r", now);
    fflush(stdout);
}

static double rate_between(uint64_t bytes, int64_t ns)
{
    return ns > 0 ? (double)bytes * NS / (double)ns : 0;
}

static char *time_text(double seconds)
{
    unsigned s = seconds < 1e9 ? (unsigned)(seconds + 0.5) : 999999999;

    if (s >= 3600)
        return g_strdup_printf("%u h %u min", s / 3600, s / 60 % 60);
    if (s >= 60)
        return g_strdup_printf("%u min %u s", s / 60, s % 60);
    return g_strdup_printf("%u s", s);
}

static void show_line(Progress *p, int64_t now)
{
    double last = rate_between(p->done - p->shown_done, now - p->shown_at);
    p->rate = p->line ? p->rate * 0.9 + last * 0.1 : last;
    g_autofree char *done = img_size_text(p->done), *total = img_size_text(p->total);
    g_autofree char *speed = img_size_text((uint64_t)p->rate), *saved = img_size_text(p->saved);
    g_autofree char *left = time_text(p->rate > 0 ? (double)(p->total - p->done) / p->rate : 1e9);

    p->line = true;
    p->shown_at = now;
    p->shown_done = p->done;
    fprintf(stderr, "\r%3.0f %%  %s of %s, %s/s", percent(p), done, total, speed);
    if (p->saved)
        fprintf(stderr, ", %s %s", saved, p->how);
    fprintf(stderr, ", %s left\033[K", left);
    fflush(stderr);
}

void progress_at(Img *im, uint64_t done)
{
    Progress *p = im->progress;

    p->done = done < p->total ? done : p->total;
    double now = percent(p);
    if (tell_signal && p->mode == PROGRESS_NONE) {
        tell_signal = 0;
        print_percent(p, now);
    } else if (p->mode == PROGRESS_PERCENT && now - p->shown_percent >= p->step) {
        print_percent(p, now);
    } else if (p->mode == PROGRESS_LIVE) {
        int64_t t = loop_now();
        if (t - p->shown_at >= (p->line ? NS / 10 : NS * 3 / 10))
            show_line(p, t);
    }
}

static void sum_up(const Progress *p, int64_t now)
{
    g_autofree char *total = img_size_text(p->done), *saved = img_size_text(p->saved);
    g_autofree char *speed = img_size_text((uint64_t)rate_between(p->done, now - p->began));

    fprintf(stderr, "%s %s in %.1f s, %s/s", total, p->what, (double)(now - p->began) / NS, speed);
    if (p->saved)
        fprintf(stderr, "; %s %s", saved, p->how);
    fputc('\n', stderr);
}

void progress_end(Img *im, bool ok)
{
    Progress *p = im->progress;

    if (!p)
        return;
    im->progress = NULL;
    if (p->mode == PROGRESS_PERCENT) {
        if (ok)
            print_percent(p, 100);
        putchar('\n');
    }
    if (p->line)
        fputs("\r\033[K", stderr);
    int64_t now = loop_now();
    if (ok && p->mode == PROGRESS_LIVE && now - p->began > NS)
        sum_up(p, now);
    g_free(p);
}

void img_say(Img *im, const char *fmt, ...)
{
    va_list ap;

    if (im->a.quiet)
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}
