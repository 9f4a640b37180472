/* SPDX-License-Identifier: MIT */
/*
 * Dialling: see chardev/dial.h. What the thread touches is the Dial alone,
 * which the last of the two ends frees.
 */
#include "chardev/dial.h"

#include <errno.h>
#include <glib.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct Dial {
    _Atomic int users;
    ChrAddress address;
    int event;
    int fd;                     /* the thread's until the event */
    Err *why;
};

void dial_drop(Dial *d)
{
    if (!d || atomic_fetch_sub(&d->users, 1) > 1)
        return;
    if (d->fd >= 0)
        close(d->fd);
    err_free(d->why);
    close(d->event);
    chr_address_clear(&d->address);
    g_free(d);
}

static gpointer dial_run(gpointer opaque)
{
    Dial *d = opaque;
    uint64_t one = 1;

    d->why = chr_connect(&d->address, &d->fd);
    if (d->why)
        d->fd = -1;
    while (write(d->event, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    dial_drop(d);
    return NULL;
}

Dial *dial_new(const ChrAddress *a)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (event < 0)
        return NULL;
    Dial *d = g_new0(Dial, 1);
    d->users = 2;
    d->fd = -1;
    d->event = event;
    chr_address_copy(&d->address, a);
    GThread *t = g_thread_try_new("dial", dial_run, d, NULL);
    if (t) {
        g_thread_unref(t);
        return d;
    }
    d->users = 1;
    dial_drop(d);
    return NULL;
}

int dial_fd(const Dial *d)
{
    return d->event;
}

int dial_end(Dial *d, Err **why)
{
    int fd = d->fd;

    *why = d->why;
    d->fd = -1;
    d->why = NULL;
    dial_drop(d);
    return fd;
}
