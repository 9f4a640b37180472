/* SPDX-License-Identifier: MIT */
/*
 * stdio: standard input and output. Only one backend of the process can be it.
 */
#include "chardev/stream.h"
#include "chardev/term.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct Stdio {
    StreamChardev sc;
    bool signals;               /* the terminal makes signals of Ctrl-C and the like */
    GSource *raw_src;
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
    c->open = true;
    return NULL;
}

static void stdio_close(Chardev *c)
{
    if (user != c)
        return;
    user = NULL;
    chr_unwatch(&((Stdio *)c)->raw_src);
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
};
