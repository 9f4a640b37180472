/* SPDX-License-Identifier: MIT */
/*
 * Character streams: serial lines on one side, terminals, files and sockets on
 * the other.
 *
 * A device holds a CharPort, asks for it to be bound to a Chardev (a backend)
 * at realize, writes with chr_write and is called through CharEvents. All of it
 * happens under the machine lock: chr_* are called with it held (from any
 * thread), and the device is called with it held, in the main thread or from
 * within its own chr_* call.
 *
 * Flow control, so that no byte is lost: input is read from the host only when
 * the device has room; a device that had none calls chr_accept_input when that
 * changes. Output goes to the host without waiting; what the host does not take
 * is kept up to a bound, then chr_write takes less than it was given, and
 * CHR_WRITABLE tells when it will take more.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

typedef struct Chardev Chardev;         /* a backend */
typedef struct Chardevs Chardevs;       /* all backends of a machine */

typedef enum CharEvent {
    CHR_OPENED,         /* somebody is at the other end */
    CHR_CLOSED,         /* nobody is any more */
    CHR_BREAK,          /* the line's break condition */
    CHR_WRITABLE,       /* after a short chr_write: there is space again */
    CHR_FOCUS,          /* of a mux: what is typed comes here from now on; not told at the start */
    CHR_RESIZED,        /* the terminal has another size: chr_size */
} CharEvent;

typedef struct CharEvents {
    int  (*room)(void *dev);            /* how many bytes the device takes now; 0: none */
    void (*data)(void *dev, const uint8_t *buf, int n);     /* 1 <= n <= room */
    void (*event)(void *dev, CharEvent what);               /* may be NULL */
    bool stays;                         /* it is a conversation with this very peer: no chardev_change */
} CharEvents;

/* The device's side; embedded in it, zeroed at start. */
typedef struct CharPort {
    Chardev *chr;               /* chosen by the board or -device; NULL: goes nowhere */
    const CharEvents *events;   /* set while bound */
    void *dev;
    bool unused;                /* it is there, but nobody behind it (an agent in the guest) has it open */
} CharPort;

/*
 * Binds the port to port->chr, whose events come to `dev` from now on (the first
 * one, CHR_OPENED, comes from the main loop, never from within chr_bind). An error
 * if another port has the backend already. With chr NULL it always succeeds.
 */
MUST_USE Err *chr_bind(CharPort *port, const CharEvents *events, void *dev);
void chr_unbind(CharPort *port);
/* How many of the n bytes were taken; what nobody listens to counts as taken. */
int chr_write(CharPort *port, const void *buf, int n);
/* The device has room again, after `room` returned less than it might have been given. */
void chr_accept_input(CharPort *port);
bool chr_is_open(const CharPort *port);     /* somebody is at the other end */
/* A descriptor that the peer sent along (UNIX sockets), the oldest of the latest message; the caller's. -1: none. */
int chr_take_fd(CharPort *port);
bool chr_size(const CharPort *port, int *cols, int *rows);      /* of the terminal; false: it is none, or nobody knows */

/*
 * A port's backend in another loop than the machine's, under another lock: from now on the port is called there, and
 * chr_* of this port are for who holds that lock. Who moves it holds both locks, in the main thread. A mux stays.
 */
typedef struct ChrPlace {
    GMainContext *context;
    void (*lock)(void *opaque), (*unlock)(void *opaque);
    void *opaque;
} ChrPlace;
bool chr_can_move(const CharPort *port);
void chr_move(CharPort *port, const ChrPlace *to /* NULL: back to the machine's */);

/* ---- backends */

/* What backends ask of their surroundings. lock and unlock may be NULL in tests. */
typedef struct ChardevHost {
    GMainContext *context;
    void (*lock)(void *opaque), (*unlock)(void *opaque);    /* the machine lock */
    void (*quit)(void *opaque);                             /* the user asked for the end (Ctrl-A x) */
    void *opaque;
    int escape;                 /* the mux's escape character; 0: Ctrl-A */
    struct Yanks *yanks;        /* where sockets put their connections (util/yank.h); NULL: nowhere */
    struct FdSets *fdsets;      /* for files named /dev/fdset/N; NULL: there are none */
} ChardevHost;

Chardevs *chardevs_new(const ChardevHost *host);
/* Writes out what is still buffered (for a bounded time), restores the terminal, closes all. Lock held or no threads. */
void chardevs_free(Chardevs *set);

/* The argument of -chardev: "BACKEND,id=NAME,...". *out may be NULL. */
MUST_USE Err *chardev_add(Chardevs *set, const char *arg, Chardev **out);
/*
 * The argument of the n-th -serial: stdio, mon:stdio, null, pty[:LINK], file:PATH, pipe:PATH, /dev/TTY,
 * unix:PATH,..., tcp:HOST:PORT,..., telnet:HOST:PORT,..., udp:HOST:PORT[@HOST:PORT], chardev:NAME, none.
 * *out is NULL for none.
 */
MUST_USE Err *chardev_add_serial(Chardevs *set, const char *arg, int n, Chardev **out);
/* The same syntax, for what is no serial port (-gdb): the backend is called `id`. */
MUST_USE Err *chardev_add_line(Chardevs *set, const char *arg, const char *id, Chardev **out);
/* chardev_add whose errors don't repeat the argument. */
MUST_USE Err *chardev_add_text(Chardevs *set, const char *arg, Chardev **out);
/* Closes and forgets it, unless a port is bound to it. */
MUST_USE Err *chardev_remove(Chardevs *set, const char *id);
/*
 * The argument of -chardev, without its id: what is at the other end of this one from now on. Whoever is bound to it
 * sees one peer go and another come. Nothing has changed when it fails. The Chardev of before is no more.
 */
MUST_USE Err *chardev_change(Chardevs *set, const char *id, const char *arg, Chardev **out);
Chardev *chardev_next(Chardevs *set, Chardev *after);      /* NULL: the first */
bool chardev_bound(const Chardev *chr);     /* is a port bound to it now? */
bool chardev_in_use(const Chardev *chr);    /* and is it one that somebody has open? */
bool chardev_for_monitor(const Chardev *chr);   /* a mux of "mon:", which wants a monitor beside its device */
void chardev_break(Chardev *chr);           /* a break condition, for the device */
MUST_USE Err *chardev_find(Chardevs *set, const char *id, Chardev **out);     /* not found: near matches */
const char *chardev_id(const Chardev *chr);
const char *chardev_kind(const Chardev *chr);       /* "socket" */
const char *chardev_kind_name(unsigned i);          /* of the i-th kind; NULL: no more */
bool chardev_used(const Chardev *chr);      /* has any port been bound to it? */
/* What it is bound to on the host, like "pty:/dev/pts/3"; g_free it. */
char *chardev_filename(const Chardev *chr);
/*
 * What a ringbuf holds, the oldest first, taken out of it: how many bytes, at most `max`; -1: it is no ringbuf.
 * Whoever looks (a monitor) needs no port. chardev_ring_write puts bytes in, as a device would.
 */
int chardev_ring_read(Chardev *chr, uint8_t *buf, int max);
int chardev_ring_write(Chardev *chr, const uint8_t *buf, int n);
char *chardev_help(const char *backend /* or NULL: all names */);     /* g_free it */

#endif
