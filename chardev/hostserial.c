/* SPDX-License-Identifier: MIT */
/*
 * serial: a serial port (or another terminal) of the host, raw, 115200 8N1,
 * without handshake; put back as it was at the end. tty is its old name. The
 * guest's own line settings are not passed on.
 */
#include "chardev/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include "util/path.h"

typedef struct HostSerial {
    StreamChardev sc;
    struct termios was;
    bool changed;
} HostSerial;

static void port_ended(Chardev *c, int errnum)
{
    stream_drop(c);
    chr_be_event(c, CHR_CLOSED);
}

static Err *port_raw(HostSerial *h, int fd, const char *path)
{
    struct termios t;

    if (tcgetattr(fd, &h->was) < 0)
        return err_hint(err_errno(errno, "'%s' is no serial port", path), "For a file, use the backend file; for a FIFO, pipe.");
    t = h->was;
    cfmakeraw(&t);
    cfsetspeed(&t, B115200);
    t.c_cflag = (t.c_cflag & ~(CRTSCTS | CSTOPB)) | CLOCAL | CREAD;
    if (tcsetattr(fd, TCSANOW, &t) < 0)
        return err_errno(errno, "cannot set up '%s'", path);
    h->changed = true;
    return NULL;
}

static Err *port_open(Chardev *c, const Opts *o)
{
    HostSerial *h = (HostSerial *)c;
    const char *path = opts_str(o, "path", "");

    h->sc.s.ended = port_ended;
    if (!*path)
        return err_hint(err(ERR_INVALID, "it has no path"), "Add path=/dev/ttyS0, or what it is called here.");
    int fd = chr_open_file(c, path, O_RDWR | O_NONBLOCK);
    if (fd < 0)
        return err_path(errno, path, "cannot open '%s'", path);
    Err *e = port_raw(h, fd, path);
    if (e) {
        close(fd);
        return e;
    }
    stream_start(c, fd, fd);
    c->open = true;
    return NULL;
}

static void port_close(Chardev *c)
{
    HostSerial *h = (HostSerial *)c;
    int fd = h->changed && h->sc.s.in >= 0 ? fcntl(h->sc.s.in, F_DUPFD_CLOEXEC, 3) : -1;

    stream_close(c);
    if (fd >= 0) {
        tcsetattr(fd, TCSANOW, &h->was);
        close(fd);
    }
}

static const OptDesc port_opts[] = {
    { "path", OPT_STR, "the port, for example /dev/ttyUSB0" },
    { 0 }
};

const ChardevClass chardev_serial = {
    .name = "serial", .doc = "a serial port of the host, 115200 8N1",
    .opts = port_opts, .size = sizeof(HostSerial),
    .open = port_open, .write = stream_write, .input = stream_input, .close = port_close,
};

const ChardevClass chardev_tty = {
    .name = "tty", .doc = "the same as serial",
    .opts = port_opts, .size = sizeof(HostSerial),
    .open = port_open, .write = stream_write, .input = stream_input, .close = port_close,
};
