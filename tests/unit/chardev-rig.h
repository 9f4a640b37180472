/* SPDX-License-Identifier: MIT */
/*
 * What the tests of chardev/ share: a device that reads and counts, the machine's
 * loop around it, a folder, the other end of a UNIX socket.
 */
#ifndef TESTS_UNIT_CHARDEV_RIG_H
#define TESTS_UNIT_CHARDEV_RIG_H

#include "tests/unit/test.h"
#include "chardev/chardev.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

typedef struct Dev {
    CharPort port;
    GString *got;
    int room;
    int opened, closed, breaks, writable;
} Dev;

static GMainContext *ctx;
static char *dir;
static int quits;

static inline int dev_room(void *opaque)
{
    return ((Dev *)opaque)->room;
}

static inline void dev_data(void *opaque, const uint8_t *buf, int n)
{
    Dev *d = opaque;

    CHECK(n <= d->room);
    g_string_append_len(d->got, (const char *)buf, n);
    d->room -= n;
}

static inline void dev_event(void *opaque, CharEvent what)
{
    Dev *d = opaque;

    d->opened += what == CHR_OPENED;
    d->closed += what == CHR_CLOSED;
    d->breaks += what == CHR_BREAK;
    d->writable += what == CHR_WRITABLE;
}

static const CharEvents dev_events = { dev_room, dev_data, dev_event };

static inline void on_quit(void *opaque)
{
    quits++;
}

static inline Chardevs *new_set(void)
{
    ChardevHost h = { .context = ctx, .quit = on_quit };

    return chardevs_new(&h);
}

static inline void loop(int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    do {
        if (!g_main_context_iteration(ctx, FALSE))
            g_usleep(500);
    } while (g_get_monotonic_time() < end);
}

/* Runs the loop until cond or for a minute. */
#define LOOP_UNTIL(cond)                                            \
    do {                                                            \
        for (int i_ = 0; i_ < 60000 && !(cond); i_++)                \
            loop(1);                                                \
        CHECK(cond);                                                \
    } while (0)

static inline void no_err(Err *e)
{
    if (e) {
        printf("%s / %s\n", err_text(e), err_hint_text(e) ? err_hint_text(e) : "");
        CHECK(!"no error");
        err_free(e);
    }
}

static inline Dev *new_dev(Chardev *c, int room)
{
    Dev *d = g_new0(Dev, 1);

    d->got = g_string_new(NULL);
    d->room = room;
    d->port.chr = c;
    no_err(chr_bind(&d->port, &dev_events, d));
    return d;
}

static inline void dev_free(Dev *d)
{
    chr_unbind(&d->port);
    g_string_free(d->got, TRUE);
    g_free(d);
}

static inline Dev *dev_on(Chardevs *set, const char *serial, int room)
{
    Chardev *c = NULL;

    no_err(chardev_add_serial(set, serial, 0, &c));
    return new_dev(c, room);
}

static inline char *in_dir(const char *fmt, const char *name)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *out = g_strdup_printf(fmt, path);

    g_free(path);
    return out;
}

static inline char *contents(const char *path)
{
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text ? text : g_strdup("(no file)");
}

static inline int connect_unix(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void expect_read(int fd, const char *want, int n)
{
    char buf[4096];
    int got = 0, r;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 1000 && got < n; i++) {
        loop(1);
        r = read(fd, buf + got, sizeof(buf) - got);
        if (r > 0)
            got += r;
    }
    if (got != n || memcmp(buf, want, n)) {
        printf("got %d bytes '%.*s', want %d '%s'\n", got, got, buf, n, want);
        CHECK(!"the bytes wanted");
    }
}

static inline void wrong(bool serial, const char *arg, const char *text, const char *hint)
{
    Chardevs *set = new_set();
    Chardev *c;
    Err *e = serial ? chardev_add_serial(set, arg, 0, &c) : chardev_add(set, arg, &c);

    if (!e || !strstr(err_text(e), text) ||
        (hint && (!err_hint_text(e) || !strstr(err_hint_text(e), hint)))) {
        printf("'%s': %s / %s\n", arg, e ? err_text(e) : "no error",
               e && err_hint_text(e) ? err_hint_text(e) : "");
        CHECK(!"the words wanted");
    }
    err_free(e);
    chardevs_free(set);
}

static inline void rig_begin(void)
{
    dir = g_dir_make_tmp("lyre-chardev-XXXXXX", NULL);
    ctx = g_main_context_new();
    signal(SIGPIPE, SIG_IGN);
}

/* The exit status. */
static inline int rig_end(void)
{
    g_main_context_unref(ctx);
    char *rm = g_strdup_printf("rm -rf '%s'", dir);
    CHECK(!system(rm));
    g_free(rm);
    g_free(dir);
    return test_end();
}

#endif
