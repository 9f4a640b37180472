/* SPDX-License-Identifier: MIT */
/*
 * The kernel's NBD devices, by the ioctls of <linux/nbd.h>: the kernel is the
 * client of a socket whose other end our server has. NBD_DO_IT runs until the
 * device is detached, in a thread of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cmd/nbd/nbd.h"
#include "util/path.h"

struct NbdDevice {
    int fd, sock;
    Loop *loop;
    pthread_t thread;
    void (*done)(void *);
    void *opaque;
    bool ended;
    CoQueue waiting;
};

static Err *device_open(const char *dev, int *fd)
{
    *fd = open(dev, O_RDWR | O_CLOEXEC);
    if (*fd >= 0)
        return NULL;
    Err *e = err_path(errno, dev, "Failed to open %s", dev);
    if (access("/sys/module/nbd", F_OK) < 0)
        e = err_hint(e, "The kernel's NBD module is not there: modprobe nbd (as root).");
    return e;
}

static Err *device_call(int fd, unsigned long request, unsigned long arg, const char *dev, const char *what)
{
    if (ioctl(fd, request, arg) >= 0)
        return NULL;
    int error = errno;
    Err *e = err_errno(error, "%s: %s", dev, what);
    return error == EBUSY ? err_hint(e, "The device is in use; --disconnect %s frees it.", dev) :
           error == ENOTTY ? err_hint(e, "Is it a device of the kernel's NBD module, /dev/nbdN?") : e;
}

Err *nbd_device_disconnect(const char *dev)
{
    int fd;

    TRY(device_open(dev, &fd));
    Err *e = device_call(fd, NBD_CLEAR_QUE, 0, dev, "NBD_CLEAR_QUE");
    if (!e)
        e = device_call(fd, NBD_DISCONNECT, 0, dev, "NBD_DISCONNECT");
    if (!e)
        e = device_call(fd, NBD_CLEAR_SOCK, 0, dev, "NBD_CLEAR_SOCK");
    close(fd);
    return e;
}

static Err *device_set_up(int fd, const char *dev, int sock, uint64_t size, uint16_t flags)
{
    const unsigned long block = 512;    /* what partition tables in images count by */

    TRY(device_call(fd, NBD_SET_SOCK, sock, dev, "NBD_SET_SOCK"));
    TRY(device_call(fd, NBD_SET_BLKSIZE, block, dev, "NBD_SET_BLKSIZE"));
    TRY(device_call(fd, NBD_SET_SIZE_BLOCKS, size / block, dev, "NBD_SET_SIZE_BLOCKS"));
    int ro = flags & 2;
    if (ioctl(fd, BLKROSET, &ro) < 0 && ro)
        return err_errno(errno, "%s: cannot make it read-only", dev);
    /* Older kernels know no flags, and work without. */
    if (ioctl(fd, NBD_SET_FLAGS, (unsigned long)flags) < 0 && errno != ENOTTY)
        return err_errno(errno, "%s: NBD_SET_FLAGS", dev);
    return NULL;
}

static void device_ended(void *arg)
{
    NbdDevice *d = arg;

    d->ended = true;
    co_queue_wake_all(&d->waiting);
    d->done(d->opaque);
}

static void *device_thread(void *arg)
{
    NbdDevice *d = arg;

    /* Until somebody says NBD_DISCONNECT, or the socket ends. */
    (void)!ioctl(d->fd, NBD_DO_IT);
    (void)!ioctl(d->fd, NBD_CLEAR_QUE);
    (void)!ioctl(d->fd, NBD_CLEAR_SOCK);
    loop_call(d->loop, device_ended, d);
    return NULL;
}

Err *nbd_device_start(const char *dev, int sock, uint64_t size, uint16_t flags, Loop *loop, void (*done)(void *),
                      void *opaque, NbdDevice **out)
{
    int fd;

    *out = NULL;
    TRY(device_open(dev, &fd));
    /* The kernel's part waits as it likes. */
    fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) & ~O_NONBLOCK);
    Err *e = device_set_up(fd, dev, sock, size, flags);
    if (e) {
        close(fd);
        return e;
    }
    NbdDevice *d = g_new0(NbdDevice, 1);
    *d = (NbdDevice){ .fd = fd, .sock = sock, .loop = loop, .done = done, .opaque = opaque };
    int ret = pthread_create(&d->thread, NULL, device_thread, d);
    if (ret) {
        (void)!ioctl(fd, NBD_CLEAR_SOCK);
        close(fd);
        g_free(d);
        return err_errno(ret, "%s: no thread", dev);
    }
    *out = d;
    return NULL;
}

void nbd_device_stop(NbdDevice *d)
{
    if (!d)
        return;
    if (!d->ended)
        (void)!ioctl(d->fd, NBD_DISCONNECT);
    while (!d->ended)
        co_queue_wait(&d->waiting);
    pthread_join(d->thread, NULL);
    close(d->sock);
    close(d->fd);
    g_free(d);
}
