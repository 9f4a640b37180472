/* SPDX-License-Identifier: MIT */
/*
 * Between the backends of this folder and its core; nobody else's.
 */
#ifndef CHARDEV_CHARDEV_PRIV_H
#define CHARDEV_CHARDEV_PRIV_H

#include "chardev/chardev.h"
#include "util/opts.h"

typedef struct ChrWatch ChrWatch;        /* something waited for in the chardev's loop */

typedef struct ChardevClass {
    const char *name, *doc;
    const OptDesc *opts;        /* besides the common ones; NULL: none */
    size_t size;                /* of the struct that begins with a Chardev */
    Err *(*open)(Chardev *, const Opts *);          /* failed: close is called too, on what there is */
    int  (*write)(Chardev *, const uint8_t *, int); /* how many were taken */
    void (*input)(Chardev *);   /* the port may have room: read on. May be NULL */
    void (*close)(Chardev *);   /* may be NULL */
    bool (*winsize)(const Chardev *, int *cols, int *rows);     /* NULL: it has no size */
    int  (*take_fd)(Chardev *);                     /* chr_take_fd; NULL: never one */
    char *(*filename)(const Chardev *);             /* NULL: the class's name */
} ChardevClass;

struct Chardev {
    const ChardevClass *cls;
    Chardevs *set;
    ChardevHost host;           /* the set's, unless it was moved (chr_move) */
    bool moved;
    ChrWatch *watches;          /* all there are */
    char *id;
    bool used;                  /* some port has been bound to it */
    CharPort *port;             /* who gets input and events; a mux keeps a list of its own instead */
    bool open;                  /* somebody is at the other end */
    ChrWatch *announcer;        /* will tell a newly bound port CHR_OPENED */
    int log_fd;                 /* of logfile=; -1: none */
};

extern const ChardevClass chardev_null, chardev_file, chardev_pipe, chardev_stdio, chardev_pty,
    chardev_socket, chardev_udp, chardev_ringbuf, chardev_memory, chardev_serial, chardev_tty, chardev_mux;

/* To the port: its room, bytes for it, news. Without a port there is no room. */
int  chr_be_room(Chardev *c);
void chr_be_data(Chardev *c, const uint8_t *buf, int n);
void chr_be_event(Chardev *c, CharEvent what);      /* OPENED and CLOSED set c->open too */

const ChardevHost *chr_host(const Chardev *c);
/* open(2), without waiting for a terminal's line; /dev/fdset/N is a descriptor of that set. */
int chr_open_file(const Chardev *c, const char *path, int flags);

/* Waits in the chardev's loop, the machine's main one unless it was moved; callbacks run under its lock. */
typedef void ChrFdFn(Chardev *, GIOCondition);
ChrWatch *chr_watch_fd(Chardev *c, int fd, GIOCondition cond, ChrFdFn *fn);
ChrWatch *chr_idle(Chardev *c, void (*fn)(Chardev *));  /* once, soon; fn unwatches it */
ChrWatch *chr_after(Chardev *c, unsigned ms, void (*fn)(Chardev *));    /* the same, then */
void chr_unwatch(ChrWatch **w);         /* *w becomes NULL; NULL is fine */

/* chardev_add, but errors don't repeat the argument. */
MUST_USE Err *chardev_add_opts(Chardevs *set, const char *arg, Chardev **out);
/* Puts a mux over an open backend, both in the set; the mux gets the name. */
MUST_USE Err *mux_new(Chardevs *set, const char *id, Chardev *below, bool monitor, Chardev **out);
MUST_USE Err *mux_bind(Chardev *mux, CharPort *port);
void mux_unbind(Chardev *mux, CharPort *port);
bool mux_bound(const Chardev *mux);
bool mux_for_monitor(const Chardev *mux);
Chardev *mux_below(const Chardev *mux);
void mux_event(Chardev *mux, CharEvent what);

/* Makes a backend of a class and puts it in the set. o may be NULL. */
MUST_USE Err *chardev_make(Chardevs *set, const ChardevClass *cls, const char *id, const Opts *o,
                           Chardev **out);

/* A line on stderr for the user: "lyre-...: text". */
void chr_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
