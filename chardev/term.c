/* SPDX-License-Identifier: MIT */
/*
 * The terminal's mode: see chardev/term.h.
 *
 * The terminal belongs to the process, so this state does too. Handlers are
 * put only on signals whose action is still the default; who takes a signal
 * over later ends in exit() or calls term_restore itself. SIGKILL leaves the
 * terminal raw; nobody can help that.
 */
#include "chardev/term.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;       /* valid while `held` */
static struct termios raw;
static volatile sig_atomic_t held;  /* the terminal is ours to set and restore */

static const int deadly[] = {
    SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGTERM,
    SIGALRM, SIGXCPU, SIGXFSZ, SIGSYS, SIGUSR1, SIGUSR2,
};

/* A background process that sets its terminal would be stopped. One that is not its own (-1) anybody may set. */
static bool in_foreground(void)
{
    pid_t group = tcgetpgrp(0);

    return group < 0 || group == getpgrp();
}

static void set_mode(const struct termios *t)
{
    int saved = errno;

    if (in_foreground()) {
        while (tcsetattr(0, TCSANOW, t) < 0 && errno == EINTR)
            ;
    }
    errno = saved;
}

void term_restore(void)
{
    if (held) {
        held = 0;
        set_mode(&before);
    }
}

static void on_deadly(int sig)
{
    term_restore();
    signal(sig, SIG_DFL);       /* the signal is blocked until we return: then it kills */
    raise(sig);
}

static void on_stop(int sig)
{
    struct sigaction dfl = { .sa_handler = SIG_DFL }, old;
    sigset_t one, was;
    int saved = errno;

    set_mode(&before);
    sigaction(sig, &dfl, &old);
    sigemptyset(&one);
    sigaddset(&one, sig);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &one, &was);   /* stops here, until SIGCONT */
    sigprocmask(SIG_SETMASK, &was, NULL);
    sigaction(sig, &old, NULL);
    if (held)
        set_mode(&raw);
    errno = saved;
}

static void on_cont(int sig)
{
    if (held)
        set_mode(&raw);         /* in the background: not now; fg sends another SIGCONT */
}

static void catch(int sig, void (*handler)(int))
{
    struct sigaction sa;

    if (sigaction(sig, NULL, &sa) < 0 || sa.sa_handler != SIG_DFL || (sa.sa_flags & SA_SIGINFO))
        return;
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = handler;
    sa.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&sa.sa_mask);
    sigaction(sig, &sa, NULL);
}

void term_prepare(void)
{
    static bool done;

    if (done)
        return;
    done = true;
    atexit(term_restore);
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        catch(deadly[i], on_deadly);
    catch(SIGTSTP, on_stop);
    catch(SIGCONT, on_cont);
}

void term_raw(bool signals)
{
    if (!isatty(0) || (!held && tcgetattr(0, &before) < 0))
        return;
    raw = before;
    raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag |= OPOST;       /* our own messages end lines with \n alone */
    raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals)
        raw.c_lflag &= ~ISIG;
    raw.c_cflag = (raw.c_cflag & ~(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    held = 1;
    term_prepare();
    set_mode(&raw);
}
