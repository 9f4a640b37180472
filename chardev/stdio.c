/* SPDX-License-Identifier: MIT */
/*
 * stdio: standard input and output. Only one backend of the process can be it.
 */
#include "chardev/stream.h"
#include "chardev/term.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <glib-unix.h>

typedef struct Stdio {
    StreamChardev sc;
    bool signals;               /* the terminal makes signals of Ctrl-C and the like */
    ChrWatch *raw_src;
    GSource *size_src;          /* in the main loop, wherever the rest is; NULL: no terminal */
} Stdio;

static Chardev *user;           /* who has stdin and stdout */

/*
 * End of input, as of a file that was read to its end: output goes on. Or
 * nobody reads the output any more (EPIPE): input goes on, Ctrl-A x with it.
 */
static void stdio_ended(Chardev *c, int errnum)
{
    if (errnum != EPIPE)
        stream_stop_input(c);
}

/*
 * From the main loop, so that Ctrl-C still works while the machine is being
 * made: another backend may wait for its peer.
 */
static void go_raw(Chardev *c)
{
    Stdio *s = (Stdio *)c;

    chr_unwatch(&s->raw_src);
    term_raw(s->signals);
}

static gboolean on_winch(gpointer opaque)
{
    Chardev *c = opaque;
    const ChardevHost *h = chr_host(c);

    if (h->lock)
        h->lock(h->opaque);
    if (!g_source_is_destroyed(g_main_current_source()))
        chr_be_event(c, CHR_RESIZED);
    if (h->unlock)
        h->unlock(h->opaque);
    return G_SOURCE_CONTINUE;
}

static bool stdio_size(const Chardev *c, int *cols, int *rows)
{
    struct winsize w;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_col)
        return false;
    *cols = w.ws_col;
    *rows = w.ws_row;
    return true;
}

static Err *stdio_open(Chardev *c, const Opts *o)
{
    Stdio *so = (Stdio *)c;
    Stream *s = &so->sc.s;

    if (user)
        return err_hint(err(ERR_BUSY, "standard input and output are used by chardev '%s'",
                            user->id),
                        "Several devices share it with mux=on: -chardev stdio,id=NAME,mux=on "
                        "-serial chardev:NAME -serial chardev:NAME");
    user = c;
    s->ended = stdio_ended;
    stream_own_output(s, STDOUT_FILENO);
    stream_start(c, fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), s->out);
    so->signals = opts_bool(o, "signal", true);
    term_prepare();
    so->raw_src = chr_idle(c, go_raw);
    if (isatty(STDOUT_FILENO)) {
        so->size_src = g_unix_signal_source_new(SIGWINCH);
        g_source_set_callback(so->size_src, on_winch, c, NULL);
        g_source_attach(so->size_src, chr_host(c)->context);
    }
    c->open = true;
    return NULL;
}

static void stdio_close(Chardev *c)
{
    if (user != c)
        return;
    user = NULL;
    chr_unwatch(&((Stdio *)c)->raw_src);
    if (((Stdio *)c)->size_src) {
        g_source_destroy(((Stdio *)c)->size_src);
        g_source_unref(((Stdio *)c)->size_src);
    }
    stream_close(c);
    term_restore();
}

static const OptDesc stdio_opts[] = {
    { "signal", OPT_BOOL, "Ctrl-C ends the emulator instead of going to the guest" },
    { 0 }
};

const ChardevClass chardev_stdio = {
    .name = "stdio", .doc = "the terminal this was started in (or its pipes)",
    .opts = stdio_opts, .size = sizeof(Stdio),
    .open = stdio_open, .write = stream_write, .input = stream_input, .close = stdio_close,
    .winsize = stdio_size,
};
