/* SPDX-License-Identifier: MIT */
/*
 * The ports of virtio-serial: virtconsole, which is a terminal, and
 * virtserialport, which has a name and is found by it in the guest
 * (/dev/virtio-ports/NAME).
 *
 * No byte is lost while both ends are open: a buffer of the guest is kept until
 * the host has taken all of it, and the host is read as far as the guest has
 * given buffers. What is sent while the host's end is closed is dropped.
 */
#include "hw/char/virtio_serial.h"

#include <limits.h>
#include <string.h>

#include "hw/virtio/saved.h"

enum { AT_ONCE = 256 };

static bool running(const SerialPort *p)
{
    return p->owner && p->owner->v.status & VIRTIO_DRIVER_OK;
}

/* ---- from the guest */

/* All that the host takes; true: all there was. */
static bool transmit(SerialPort *p)
{
    VirtElem *e = p->tx;

    for (size_t at = 0; e && p->tx_done < e->out_len;) {
        const struct iovec *v = e->out;
        size_t off = p->tx_done;

        for (at = 0; off >= v->iov_len; v++, at++)
            off -= v->iov_len;
        size_t n = MIN(v->iov_len - off, INT_MAX);
        int k = chr_write(&p->chr, (uint8_t *)v->iov_base + off, n);
        p->tx_done += k;
        if ((size_t)k < n)
            return false;
    }
    return true;
}

void serial_port_tx(SerialPort *p)
{
    VirtQueue *q = serial_tx(p);
    int n = 0;

    if (!virtq_ready(q))
        return;
    for (; n < AT_ONCE; n++) {
        if (!p->tx) {
            p->tx = virtq_pop(q, sizeof(*p->tx));
            p->tx_done = 0;
            if (!p->tx)
                break;
        }
        if (!transmit(p))
            break;              /* until CHR_WRITABLE */
        VirtElem *e = p->tx;
        p->tx = NULL;
        virtq_push(q, e, 0);
    }
    virtq_notify(q);
    if (n == AT_ONCE)
        virtio_kick(q);
}

/* ---- to the guest */

static int room(void *dev)
{
    SerialPort *p = dev;

    if (!p->guest_open || !running(p) || !virtq_ready(serial_rx(p)))
        return 0;
    while (!p->rx) {
        p->rx = virtq_pop(serial_rx(p), sizeof(*p->rx));
        if (!p->rx)
            return 0;           /* a buffer rings the bell, and then chr_accept_input is called */
        if (!p->rx->in_len) {
            VirtElem *e = p->rx;

            p->rx = NULL;
            virtq_push(serial_rx(p), e, 0);
        }
    }
    return MIN(p->rx->in_len, INT_MAX);
}

static void data(void *dev, const uint8_t *buf, int n)
{
    SerialPort *p = dev;
    VirtElem *e = p->rx;

    if (!e || (size_t)n > e->in_len || !virtq_ready(serial_rx(p)))
        return;                 /* we had no room, so nobody has asked */
    IoVec in = virt_in(e);
    p->rx = NULL;
    iov_write(&in, 0, buf, n);
    virtq_push(serial_rx(p), e, n);
    virtq_notify(serial_rx(p));
}

void serial_port_rx(SerialPort *p)
{
    chr_accept_input(&p->chr);
}

/* ---- open and closed */

static void host_opened(SerialPort *p, bool open)
{
    if (p->host_open == open)
        return;
    p->host_open = open;
    if (p->owner && p->known)
        serial_say(p->owner, p->nr, SERIAL_PORT_OPEN, open, NULL, 0);
}

static void show_size(SerialPort *p)
{
    int cols, rows;

    if (p->console && p->owner && chr_size(&p->chr, &cols, &rows))
        serial_set_size(p->owner, p, cols, rows);
}

/* A console is always open: a terminal that goes and comes is none of the guest's business. */
static void event(void *dev, CharEvent what)
{
    SerialPort *p = dev;

    if (what == CHR_WRITABLE && running(p))
        serial_port_tx(p);
    else if (what == CHR_RESIZED || (what == CHR_OPENED && p->console))
        show_size(p);
    else if ((what == CHR_OPENED || what == CHR_CLOSED) && !p->console)
        host_opened(p, what == CHR_OPENED);
}

static void tell_client(const SerialPort *p, bool open)
{
    if (p->dev.id)
        vm_event(p->dev.vm, "VSERPORT_CHANGE", json_pack("{s:s, s:b}", "id", p->dev.id, "open", open));
}

void serial_port_opened(SerialPort *p, bool open)
{
    if (p->guest_open != open)
        tell_client(p, open);
    p->guest_open = open;
    p->chr.unused = !open && !p->console;
    if (open)
        chr_accept_input(&p->chr);
}

void serial_port_introduce(SerialPort *p)
{
    p->known = true;
    if (p->console)
        serial_say(p->owner, p->nr, SERIAL_CONSOLE_PORT, 1, NULL, 0);
    if (p->name)
        serial_say(p->owner, p->nr, SERIAL_PORT_NAME, 1, p->name, strlen(p->name));
    if (p->host_open)
        serial_say(p->owner, p->nr, SERIAL_PORT_OPEN, 1, NULL, 0);
    show_size(p);
}

/* A buffer of which the host has taken a part is kept while the machine stands: its rest goes out afterwards. */
void serial_port_drop(SerialPort *p, bool all)
{
    if (p->tx && (all || !virtq_waits(serial_tx(p)))) {
        virtq_drop(serial_tx(p), p->tx);
        p->tx = NULL;
    }
    if (p->rx && (all || !virtq_waits(serial_rx(p)))) {
        virtq_drop(serial_rx(p), p->rx);
        p->rx = NULL;
    }
}

void serial_port_emergency(SerialPort *p, uint8_t byte)
{
    chr_write(&p->chr, &byte, 1);
}

/* ---- the devices */

static const CharEvents events = { room, data, event };

static Err *realize(Device *d)
{
    SerialPort *p = (SerialPort *)d;

    if (p->name && strlen(p->name) > 1000)
        return err(ERR_INVALID, "its name is longer than 1000 bytes");
    p->host_open = p->console;
    p->chr.unused = !p->console;
    return chr_bind(&p->chr, &events, p);
}

static void unrealize(Device *d)
{
    chr_unbind(&((SerialPort *)d)->chr);
}

static void save(Device *d, StateOut *out)
{
    const SerialPort *p = (SerialPort *)d;

    state_put_u64(out, "host-open", p->host_open);
    state_put_u64(out, "tx-done", p->tx_done);
    if (p->tx)
        virtq_put_elem(serial_tx(p), out, "tx", p->tx);
    if (p->rx)
        virtq_put_elem(serial_rx(p), out, "rx", p->rx);
}

static Err *load(Device *d, StateIn *in)
{
    SerialPort *p = (SerialPort *)d;
    uint64_t open, done;

    TRY(state_get_u64(in, "host-open", 1, &open));
    TRY(state_get_u64(in, "tx-done", UINT32_MAX, &done));
    p->told_open = open;
    p->tx_done = done;
    if (!p->owner)
        return NULL;
    TRY(virtq_get_elem(serial_tx(p), in, "tx", sizeof(*p->tx), (void **)&p->tx));
    return virtq_get_elem(serial_rx(p), in, "rx", sizeof(*p->rx), (void **)&p->rx);
}

/* The host's end here may be another than the driver was told, and the client of this process knows nothing of the guest's. */
static Err *loaded(Device *d)
{
    SerialPort *p = (SerialPort *)d;
    bool here = p->host_open;

    if (p->tx && p->tx_done > p->tx->out_len)
        return err(ERR_INVALID, "it was saved with more bytes sent than there were");
    p->chr.unused = !p->guest_open && !p->console;
    tell_client(p, p->guest_open);
    p->host_open = p->told_open;
    host_opened(p, here);
    return NULL;
}

static const Field fields[] = {
    PROP(SerialPort, chr, .as = "chardev", .doc = "where the bytes go"),
    PROP(SerialPort, name, .doc = "the port's name in the guest"),
    PROP(SerialPort, nr, .def = "4294967295", .untold = true, .doc = "its number; any, if it is not given"),
    STATE(SerialPort, guest_open, .keep = true), STATE(SerialPort, known, .keep = true),
    TRANSIENT(SerialPort, owner), TRANSIENT(SerialPort, console), TRANSIENT(SerialPort, told_open),
    TRANSIENT(SerialPort, host_open), TRANSIENT(SerialPort, tx), TRANSIENT(SerialPort, tx_done), TRANSIENT(SerialPort, rx),
    {0}
};

DEVICE(virtconsole) = {
    .name = "virtconsole", .bus = "virtio-serial-bus", .doc = "a console on a virtio-serial: hvc0 in Linux",
    .size = sizeof(SerialPort), .fields = fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load, .loaded = loaded,
};

DEVICE(virtserialport) = {
    .name = "virtserialport", .bus = "virtio-serial-bus", .doc = "a named port on a virtio-serial, for an agent in the guest",
    .size = sizeof(SerialPort), .fields = fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load, .loaded = loaded,
};
