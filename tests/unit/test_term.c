/* SPDX-License-Identifier: MIT */
/*
 * The terminal's mode around a machine on stdio: raw while it runs, and as it
 * was after each way out. Each case is a child that has a pseudo terminal of
 * its own as controlling terminal; the mode is looked at from the master side.
 */
#include "tests/unit/test.h"
#include "chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int master;
static const char *serial;
static void (*before_machine)(void);

static int room(void *dev)
{
    return 100;
}

static CharPort port;
static volatile bool done;

/* Echoes in brackets; q ends in order, e calls exit, d dereferences NULL. */
static void data(void *dev, const uint8_t *buf, int n)
{
    for (int i = 0; i < n; i++) {
        char text[8];
        int k = snprintf(text, sizeof(text), "[%02x]", buf[i]);

        (void)!chr_write(&port, text, k);
        done |= buf[i] == 'q';
        if (buf[i] == 'e')
            exit(0);
        if (buf[i] == 'd')
            raise(SIGSEGV);
    }
}

static const CharEvents events = { room, data, NULL };

static void on_quit(void *opaque)
{
    done = true;
}

static void machine(void)
{
    GMainContext *ctx = g_main_context_new();
    ChardevHost h = { .context = ctx, .quit = on_quit };
    Chardevs *set = chardevs_new(&h);
    Err *e = chardev_add_serial(set, serial, 0, &port.chr);

    if (e || (e = chr_bind(&port, &events, NULL))) {
        err_report(e);
        exit(3);
    }
    (void)!chr_write(&port, "ready\n", 6);
    while (!done)
        g_main_context_iteration(ctx, TRUE);
    chr_unbind(&port);
    chardevs_free(set);
    g_main_context_unref(ctx);
}

static pid_t start(const char *arg)
{
    char name[100];

    serial = arg;
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || grantpt(master) || unlockpt(master) ||
        ptsname_r(master, name, sizeof(name)))
        exit(77);
    pid_t pid = fork();
    if (pid == 0) {
        static const int sigs[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 };

        for (size_t i = 0; i < G_N_ELEMENTS(sigs); i++)     /* a background job is given some of them ignored */
            signal(sigs[i], SIG_DFL);
        setsid();
        int fd = open(name, O_RDWR);
        for (int i = 0; i < 3; i++)
            dup2(fd, i);
        if (fd > 2)
            close(fd);
        if (before_machine)
            before_machine();
        machine();
        _exit(0);
    }
    return pid;
}

static bool is_raw(void)
{
    struct termios t;

    return !tcgetattr(master, &t) && !(t.c_lflag & (ICANON | ECHO));
}

/* Ctrl-C makes a signal? */
static bool has_signals(void)
{
    struct termios t;

    return !tcgetattr(master, &t) && (t.c_lflag & ISIG);
}

static bool comes(bool (*what)(void), bool want)
{
    for (int i = 0; i < 60000; i++) {
        if (what() == want)
            return true;
        g_usleep(1000);
    }
    return false;
}

static char screen[10000];

/* Waits until the terminal shows text. */
static bool shows(const char *text)
{
    int n = strlen(screen), r;

    for (int i = 0; i < 60000; i++) {
        while ((r = read(master, screen + n, sizeof(screen) - 1 - n)) > 0)
            n += r;
        screen[n] = 0;
        if (strstr(screen, text))
            return true;
        g_usleep(1000);
    }
    printf("the terminal shows: %s\n", screen);
    return false;
}

static void type(const char *text)
{
    CHECK_EQ(write(master, text, strlen(text)), strlen(text));
}

/* The child's end; 128 + signal if one killed it. */
static int ends(pid_t pid)
{
    int status;

    for (int i = 0; i < 60000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        g_usleep(1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static pid_t start_raw(const char *arg)
{
    screen[0] = 0;
    pid_t pid = start(arg);
    CHECK(shows("ready"));
    CHECK(comes(is_raw, true));
    return pid;
}

static void finish(void)
{
    CHECK(!is_raw());
    close(master);
}

static void test_quit(void)
{
    pid_t pid = start_raw("stdio");

    CHECK(has_signals());
    type("a\rq");
    CHECK(shows("[61][0d][71]"));           /* Enter is a carriage return, not a newline */
    CHECK_EQ(ends(pid), 0);
    finish();
}

static void test_guest_gets_ctrl_c(void)
{
    pid_t pid = start_raw("mon:stdio");

    CHECK(!has_signals());
    type("\x03\x1a\x11\x13");
    CHECK(shows("[03][1a][11][13]"));
    type("\x01x");
    CHECK_EQ(ends(pid), 0);
    CHECK(shows("terminated"));
    CHECK(has_signals());
    finish();
}

static void test_exit(void)
{
    pid_t pid = start_raw("stdio");

    type("e");
    CHECK_EQ(ends(pid), 0);
    finish();
}

static void test_signals(void)
{
    static const int sigs[] = { SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1 };

    for (size_t i = 0; i < G_N_ELEMENTS(sigs); i++) {
        pid_t pid = start_raw("mon:stdio");

        kill(pid, sigs[i]);
        CHECK_EQ(ends(pid), 128 + sigs[i]);
        finish();
    }
}

static void test_crash(void)
{
    pid_t pid = start_raw("mon:stdio");

    type("d");
    CHECK_EQ(ends(pid), 128 + SIGSEGV);
    finish();
}

static void test_ctrl_c_signal(void)
{
    pid_t pid = start_raw("stdio");

    type("\x03");
    CHECK_EQ(ends(pid), 128 + SIGINT);
    finish();
}

/*
 * What a shell with job control does: the machine is a foreground job; when it
 * stops the shell takes the terminal, and a moment later types "fg".
 */
static void shell(void)
{
    int status;
    pid_t job;

    signal(SIGTTOU, SIG_IGN);
    job = fork();
    if (job == 0) {
        setpgid(0, 0);
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, SIG_DFL);
        return;
    }
    while (waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status)) {
        tcsetpgrp(0, getpid());
        g_usleep(300000);
        tcsetpgrp(0, job);
        kill(-job, SIGCONT);
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

static void test_stop(void)
{
    before_machine = shell;
    pid_t pid = start_raw("stdio");
    before_machine = NULL;

    for (int i = 0; i < 2; i++) {
        type("\x1a");
        CHECK(comes(is_raw, false));
        CHECK(comes(is_raw, true));
    }
    type("bq");
    CHECK(shows("[62]"));
    CHECK_EQ(ends(pid), 0);
    finish();
}

/* Other users of the terminal must not find it in non-blocking mode. */
static void test_blocking_left_alone(void)
{
    int p[2], status;
    char buf[100];

    CHECK(!pipe(p));
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, 0);
        dup2(p[1], 1);
        serial = "stdio";
        done = true;
        machine();
        _exit(fcntl(1, F_GETFL) & O_NONBLOCK ? 5 : 0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 6);
    close(p[0]);
    close(p[1]);
}

static void test_second_user(void)
{
    ChardevHost h = { .context = NULL };
    Chardevs *set = chardevs_new(&h);
    Chardev *c;
    Err *e = chardev_add_serial(set, "stdio", 0, &c);

    CHECK(!e);
    e = chardev_add_serial(set, "mon:stdio", 1, &c);
    CHECK(e && strstr(err_text(e), "'serial0'") && strstr(err_hint_text(e), "mux=on"));
    err_free(e);
    chardevs_free(set);
}

static bool sanitized(void)
{
    struct sigaction sa;

    return !sigaction(SIGSEGV, NULL, &sa) && sa.sa_handler != SIG_DFL;
}

int main(void)
{
    RUN(test_quit);
    RUN(test_guest_gets_ctrl_c);
    RUN(test_exit);
    RUN(test_signals);
    if (!sanitized())           /* a sanitizer handles crashes itself */
        RUN(test_crash);
    RUN(test_ctrl_c_signal);
    RUN(test_stop);
    RUN(test_blocking_left_alone);
    RUN(test_second_user);
    return test_end();
}
