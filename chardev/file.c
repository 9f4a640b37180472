/* SPDX-License-Identifier: MIT */
/*
 * null: takes all, gives nothing. file: output into a file, and input from another. pipe: a pair of
 * FIFOs PATH.in and PATH.out, or one named PATH for both ways.
 */
#include "chardev/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "util/path.h"

static Err *null_open(Chardev *c, const Opts *o)
{
    c->open = true;
    return NULL;
}

static int null_write(Chardev *c, const uint8_t *buf, int n)
{
    return n;
}

const ChardevClass chardev_null = {
    .name = "null", .doc = "nothing: output is dropped",
    .size = sizeof(Chardev), .open = null_open, .write = null_write,
};

static Err *need_path(const Opts *o, const char **path)
{
    *path = opts_str(o, "path", "");
    return **path ? NULL : err_hint(err(ERR_INVALID, "it has no path"), "Add path=FILE.");
}

/* The input's end; or a full disk: say so once; the guest goes on. */
static void file_ended(Chardev *c, int errnum)
{
    if (((StreamChardev *)c)->s.out >= 0) {
        stream_stop_input(c);
        return;
    }
    chr_note("chardev '%s': cannot write to its file any more; the rest is lost", c->id);
    stream_drop(c);
    chr_be_event(c, CHR_CLOSED);
}

static Err *file_open(Chardev *c, const Opts *o)
{
    Stream *s = &((StreamChardev *)c)->s;
    int how = opts_bool(o, "append", false) ? O_APPEND : O_TRUNC;
    const char *path;

    const char *input = opts_str(o, "input-path", NULL);
    int in = -1;

    TRY(need_path(o, &path));
    if (input) {
        in = chr_open_file(c, input, O_RDONLY | O_NONBLOCK);
        if (in < 0)
            return err_path(errno, input, "cannot read '%s'", input);
    }
    int fd = chr_open_file(c, path, O_WRONLY | O_CREAT | how);
    if (fd < 0) {
        int why = errno;

        if (in >= 0)
            close(in);
        return err_path(why, path, "cannot write '%s'", path);
    }
    s->ended = file_ended;
    stream_own_output(s, fd);   /* the path may be a terminal or a FIFO */
    close(fd);
    stream_start(c, in, s->out);
    c->open = true;
    return NULL;
}

static void file_close(Chardev *c)
{
    stream_close(c);
}

static const OptDesc file_opts[] = {
    { "path",   OPT_STR,  "the file" },
    { "append", OPT_BOOL, "add to the file instead of starting it anew" },
    { "input-path", OPT_STR, "a file that is the input" },
    { 0 }
};

const ChardevClass chardev_file = {
    .name = "file", .doc = "output into a file",
    .opts = file_opts, .size = sizeof(StreamChardev),
    .open = file_open, .write = stream_write, .input = stream_input, .close = file_close,
};

static void pipe_ended(Chardev *c, int errnum)
{
    if (errnum != EPIPE)
        stream_stop_input(c);
}

/* Opened for both directions, a FIFO neither waits for its other end nor ends when that goes. */
static Err *open_fifo(const char *path, const char *suffix, int *fd)
{
    char *name = g_strconcat(path, suffix, NULL);
    Err *e = NULL;

    *fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0)
        e = err_hint(err_errno(errno, "cannot open the pipe '%s'", name),
                     "mkfifo %s.in %s.out makes the pair.", path, path);
    g_free(name);
    return e;
}

static Err *pipe_open(Chardev *c, const Opts *o)
{
    Stream *s = &((StreamChardev *)c)->s;
    const char *path;
    int in, out;

    TRY(need_path(o, &path));
    s->ended = pipe_ended;
    Err *e = open_fifo(path, ".in", &in);
    if (!e) {
        e = open_fifo(path, ".out", &out);
        if (e) {
            close(in);
            return e;
        }
    } else {
        err_free(e);
        TRY(open_fifo(path, "", &in));
        out = in;
    }
    stream_start(c, in, out);
    c->open = true;
    return NULL;
}

static const OptDesc pipe_opts[] = {
    { "path", OPT_STR, "the FIFOs PATH.in and PATH.out, or one named PATH" },
    { 0 }
};

const ChardevClass chardev_pipe = {
    .name = "pipe", .doc = "a pair of FIFOs",
    .opts = pipe_opts, .size = sizeof(StreamChardev),
    .open = pipe_open, .write = stream_write, .input = stream_input, .close = file_close,
};
