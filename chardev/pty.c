/* SPDX-License-Identifier: MIT */
/*
 * pty: a new pseudo terminal, its name told on stderr, and a symbolic link to
 * it where path= says. While no program has it open, output is dropped.
 *
 * The master side reports a hang-up while nobody has the slave open, once it
 * was open before: so it is opened and closed here first. When somebody opens
 * it, inotify says so; a hang-up that lasts could not be waited on.
 */
#include "chardev/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include "util/path.h"

typedef struct Pty {
    StreamChardev sc;
    int master;                 /* -1: not open */
    int notify;                 /* inotify; -1: none */
    ChrWatch *notify_src;
    char *path, *link;          /* link: ours to remove; NULL: none */
} Pty;

static bool somebody_there(const Pty *p)
{
    struct pollfd pfd = { .fd = p->master, .events = POLLIN };

    return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

static void pty_connect(Pty *p)
{
    Chardev *c = &p->sc.chr;

    if (c->open || p->master < 0 || !somebody_there(p))
        return;
    int fd = fcntl(p->master, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return;
    stream_start(c, fd, fd);
    chr_be_event(c, CHR_OPENED);
}

/* The last program has closed the slave (EIO). */
static void pty_ended(Chardev *c, int errnum)
{
    Pty *p = (Pty *)c;

    stream_drop(c);
    chr_be_event(c, CHR_CLOSED);
    pty_connect(p);             /* somebody may have come in between */
}

static void on_notify(Chardev *c, GIOCondition cond)
{
    Pty *p = (Pty *)c;
    char buf[4096] __attribute__((aligned(8)));

    while (read(p->notify, buf, sizeof(buf)) > 0)
        ;
    pty_connect(p);
}

static int pty_write(Chardev *c, const uint8_t *buf, int n)
{
    pty_connect((Pty *)c);      /* no inotify, or it has not been looked at yet */
    return stream_write(c, buf, n);
}

static void pty_input(Chardev *c)
{
    stream_input(c);
}

static void watch_opens(Pty *p)
{
    p->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (p->notify < 0)
        return;
    if (inotify_add_watch(p->notify, p->path, IN_OPEN) < 0) {
        close(p->notify);
        p->notify = -1;
        return;
    }
    p->notify_src = chr_watch_fd(&p->sc.chr, p->notify, G_IO_IN, on_notify);
}

/* A link that is left from a machine that died is replaced; anything else there is not ours. */
static Err *make_link(Pty *p, const char *link)
{
    char old[64];
    ssize_t n = readlink(link, old, sizeof(old) - 1);

    if (n > 0) {
        old[n] = 0;
        if (g_str_has_prefix(old, "/dev/pts/"))
            unlink(link);
    }
    if (symlink(p->path, link) < 0)
        return err_path(errno, link, "cannot make the link '%s' to %s", link, p->path);
    p->link = g_strdup(link);
    return NULL;
}

static Err *pty_open(Chardev *c, const Opts *o)
{
    Pty *p = (Pty *)c;
    struct termios t;
    char name[128];

    p->notify = -1;
    p->sc.s.ended = pty_ended;
    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0 ||
        ptsname_r(p->master, name, sizeof(name)))
        return err_errno(errno, "cannot make a pseudo terminal");
    p->path = g_strdup(name);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &t) < 0) {
        Err *e = err_errno(errno, "cannot set up the pseudo terminal '%s'", name);

        if (slave >= 0)
            close(slave);
        return e;
    }
    cfmakeraw(&t);
    tcsetattr(slave, TCSAFLUSH, &t);
    close(slave);
    if (opts_str(o, "path", NULL))
        TRY(make_link(p, opts_str(o, "path", "")));
    watch_opens(p);
    chr_note("char device redirected to %s (label %s)", name, c->id);
    return NULL;
}

static void pty_close(Chardev *c)
{
    Pty *p = (Pty *)c;

    chr_unwatch(&p->notify_src);
    stream_close(c);
    if (p->notify >= 0)
        close(p->notify);
    if (p->master >= 0)
        close(p->master);
    if (p->link)
        unlink(p->link);
    g_free(p->link);
    g_free(p->path);
}

static char *pty_filename(const Chardev *c)
{
    return g_strdup_printf("pty:%s", ((const Pty *)c)->path);
}

static const OptDesc pty_opts[] = {
    { "path", OPT_STR, "a symbolic link to it, made now and removed at the end" },
    { 0 }
};

const ChardevClass chardev_pty = {
    .name = "pty", .doc = "a new pseudo terminal; its name is told on stderr",
    .opts = pty_opts, .size = sizeof(Pty),
    .open = pty_open, .write = pty_write, .input = pty_input, .close = pty_close,
    .filename = pty_filename,
};
