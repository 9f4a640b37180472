/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial: VIRTIO 1.2, section 5.3 ("Console Device"): consoles and named
 * ports, each with a queue either way, and a pair of queues to talk about them.
 *
 * All of it is done in the main thread. Messages to a driver that gives no
 * buffers wait, up to a bound.
 */
#include "hw/char/virtio_serial.h"

#include <string.h>

#include "hw/virtio/pci.h"
#include "hw/virtio/saved.h"
#include "util/log.h"

enum {
    F_SIZE = 0, F_MULTIPORT = 1, F_EMERG_WRITE = 2,
    CONFIG_SIZE = 12, CONFIG_EMERG = 8, QUEUE_SIZE = 128, CONTROL_SIZE = 32,
    Q_CONTROL_RX = 2, Q_CONTROL_TX = 3,
    MESSAGE = 8,                /* id, event, value */
    SAID_MOST = 4 * SERIAL_PORTS_MOST, AT_ONCE = 256,
};

static void put(uint8_t *at, uint32_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = val >> 8 * i;
}

bool serial_multiport(const VirtioSerial *s)
{
    return virtio_has(&s->v, F_MULTIPORT);
}

/* ---- queues: 0 and 1 are port 0's, 2 and 3 for control, then two for each port */

static unsigned first_queue(uint32_t nr)
{
    return nr ? 2 + 2 * nr : 0;
}

VirtQueue *serial_rx(const SerialPort *p)
{
    return virtio_queue(&p->owner->v, first_queue(p->nr));
}

VirtQueue *serial_tx(const SerialPort *p)
{
    return virtio_queue(&p->owner->v, first_queue(p->nr) + 1);
}

static SerialPort *port_of(const VirtioSerial *s, unsigned queue)
{
    uint32_t nr = queue < 2 ? 0 : queue / 2 - 1;

    return nr < s->max_ports ? s->ports[nr] : NULL;
}

/* ---- what we say */

static void speak(VirtioSerial *s)
{
    VirtQueue *q = virtio_queue(&s->v, Q_CONTROL_RX);
    bool any = false;

    while (s->said.length && virtq_ready(q)) {
        VirtElem *e = virtq_pop(q, sizeof(*e));
        if (!e)
            break;
        GBytes *b = g_queue_pop_head(&s->said);
        IoVec in = virt_in(e);
        gsize len;
        const void *data = g_bytes_get_data(b, &len);

        len = MIN(len, in.len);
        iov_write(&in, 0, data, len);
        virtq_push(q, e, len);
        g_bytes_unref(b);
        any = true;
    }
    if (any)
        virtq_notify(q);
}

void serial_say(VirtioSerial *s, uint32_t nr, SerialEvent event, uint16_t value, const void *data, size_t len)
{
    uint8_t text[MESSAGE + 1024];

    if (!s->ready || !serial_multiport(s))
        return;
    if (s->said.length >= SAID_MOST) {
        guest_error("virtio-serial: the driver gives no buffers for messages");
        return;
    }
    len = MIN(len, sizeof(text) - MESSAGE);
    put(text, nr, 4);
    put(text + 4, event, 2);
    put(text + 6, value, 2);
    if (len)
        memcpy(text + MESSAGE, data, len);
    g_queue_push_tail(&s->said, g_bytes_new(text, MESSAGE + len));
    speak(s);
}

static void forget(VirtioSerial *s)
{
    for (GBytes *b; (b = g_queue_pop_head(&s->said)) != NULL;)
        g_bytes_unref(b);
    s->ready = false;
}

/* The size in the configuration is port 0's; others are told by message. */
void serial_set_size(VirtioSerial *s, SerialPort *p, uint16_t cols, uint16_t rows)
{
    uint8_t size[4];

    if (!p->nr && (s->cols != cols || s->rows != rows)) {
        s->cols = cols;
        s->rows = rows;
        virtio_config_changed(&s->v);
    }
    put(size, cols, 2);
    put(size + 2, rows, 2);
    if (virtio_has(&s->v, F_SIZE))
        serial_say(s, p->nr, SERIAL_RESIZE, 0, size, sizeof(size));
}

/* ---- what the driver says */

static void heard(VirtioSerial *s, uint32_t nr, unsigned event, unsigned value)
{
    SerialPort *p = nr < s->max_ports ? s->ports[nr] : NULL;

    if (event == SERIAL_DEVICE_READY) {
        forget(s);
        s->ready = value;
        for (uint32_t i = 0; i < s->max_ports; i++) {
            if (s->ports[i]) {
                s->ports[i]->known = false;
                serial_say(s, i, SERIAL_PORT_ADD, 1, NULL, 0);
            }
        }
        return;
    }
    if (!p) {
        /* It may be gone since. */
        guest_error("virtio-serial: message %u about port %u, which is not there", event, nr);
        return;
    }
    if (event == SERIAL_PORT_READY && value)
        serial_port_introduce(p);
    else if (event == SERIAL_PORT_OPEN)
        serial_port_opened(p, value);
    else if (event != SERIAL_PORT_READY)
        guest_error("virtio-serial: message %u about port %u", event, nr);
}

static void handle_control(VirtioSerial *s, VirtQueue *q)
{
    VirtElem *e = NULL;

    for (int n = 0; n < AT_ONCE && (e = virtq_pop(q, sizeof(*e))); n++) {
        IoVec out = virt_out(e);
        uint8_t m[MESSAGE];
        bool whole = out.len >= MESSAGE;

        if (whole)
            iov_read(&out, 0, m, MESSAGE);
        virtq_push(q, e, 0);
        if (whole)
            heard(s, m[0] | m[1] << 8 | m[2] << 16 | (uint32_t)m[3] << 24, m[4] | m[5] << 8, m[6] | m[7] << 8);
        else
            guest_error("virtio-serial: a message of %zu bytes", out.len);
    }
    virtq_notify(q);
    if (e)
        virtio_kick(q);
}

/* A queue whose port is not there: what is sent is lost. */
static void discard(VirtQueue *q)
{
    VirtElem *e = NULL;

    for (int n = 0; n < AT_ONCE && (e = virtq_pop(q, sizeof(*e))); n++)
        virtq_push(q, e, 0);
    virtq_notify(q);
    if (e)
        virtio_kick(q);
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioSerial *s = (VirtioSerial *)v;
    unsigned i = virtq_index(q);

    if (i == Q_CONTROL_RX) {
        speak(s);
    } else if (i == Q_CONTROL_TX) {
        handle_control(s, q);
    } else {
        SerialPort *p = port_of(s, i);

        if (i & 1)
            p ? serial_port_tx(p) : discard(q);
        else if (p)
            serial_port_rx(p);
    }
}

/* ---- status */

static void each_port(VirtioSerial *s, void (*fn)(SerialPort *))
{
    for (uint32_t i = 0; i < s->max_ports; i++)
        if (s->ports[i])
            fn(s->ports[i]);
}

/* Without multiport there is one port, which is open while there is a driver. */
static void started(VirtioDevice *v, bool on)
{
    VirtioSerial *s = (VirtioSerial *)v;

    if (!serial_multiport(s) && s->ports[0])
        serial_port_opened(s->ports[0], on);
}

static void close_port(SerialPort *p)
{
    p->known = false;
    serial_port_opened(p, false);
}

static void reset(VirtioDevice *v)
{
    VirtioSerial *s = (VirtioSerial *)v;

    forget(s);
    each_port(s, close_port);
}

static void rest_port(SerialPort *p)
{
    serial_port_drop(p, false);
}

static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    VirtioSerial *s = (VirtioSerial *)v;

    if (!q)
        each_port(s, rest_port);
    else if (virtq_index(q) < 2 || virtq_index(q) > 3) {
        SerialPort *p = port_of(s, virtq_index(q));

        if (p)
            serial_port_drop(p, false);
    }
}

static uint64_t features(VirtioDevice *v)
{
    const VirtioSerial *s = (VirtioSerial *)v;

    return 1u << F_SIZE | (uint64_t)(s->max_ports > 1) << F_MULTIPORT | (uint64_t)s->emergency_write << F_EMERG_WRITE;
}

static void read_config(VirtioDevice *v)
{
    const VirtioSerial *s = (VirtioSerial *)v;

    put(v->config, s->cols, 2);
    put(v->config + 2, s->rows, 2);
    put(v->config + 4, s->max_ports, 4);
    put(v->config + CONFIG_EMERG, 0, 4);
}

/* A driver that is in trouble, or not there yet: one byte for the console. */
static void write_config(VirtioDevice *v, unsigned off, unsigned len)
{
    VirtioSerial *s = (VirtioSerial *)v;

    if (off > CONFIG_EMERG || off + len <= CONFIG_EMERG || !s->emergency_write)
        return;
    for (uint32_t i = 0; i < s->max_ports; i++) {
        if (s->ports[i] && s->ports[i]->console) {
            serial_port_emergency(s->ports[i], v->config[CONFIG_EMERG]);
            return;
        }
    }
}

static const VirtioOps ops = {
    .id = 3, .pci_class = 0x078000, .name = "virtio-serial", .features = features, .read_config = read_config,
    .write_config = write_config, .handle = handle, .started = started, .reset = reset, .quiesce = quiesce,
};

/* ---- its bus */

static Err *bus_plug(Bus *b, Device *d)
{
    VirtioSerial *s = ((SerialBus *)b)->owner;
    SerialPort *p = (SerialPort *)d;
    extern const DeviceClass device_virtconsole;

    p->console = d->cls == &device_virtconsole;
    if (p->nr == (uint32_t)SERIAL_NO_NR) {
        /* Number 0 is a console's: drivers without multiport know no other. */
        for (p->nr = !p->console; p->nr < s->max_ports && s->ports[p->nr]; p->nr++)
            ;
        if (p->nr >= s->max_ports)
            return err_hint(err(ERR_INVALID, "all ports of '%s' are taken", b->name), "Add max_ports=%u there, or another virtio-serial-pci.", s->max_ports + 1);
    }
    if (p->nr >= s->max_ports)
        return err_hint(err(ERR_INVALID, "there is no port %u on '%s'", p->nr, b->name), "nr= is below %u.", s->max_ports);
    if (!p->nr && !p->console)
        return err_hint(err(ERR_INVALID, "port 0 is for a virtconsole"), "Leave nr= away.");
    if (s->ports[p->nr])
        return err_hint(err(ERR_BUSY, "port %u of '%s' is taken", p->nr, b->name), "Leave nr= away.");
    p->owner = s;
    s->ports[p->nr] = p;
    return NULL;
}

static void bus_plugged(Bus *b, Device *d)
{
    SerialPort *p = (SerialPort *)d;

    serial_say(p->owner, p->nr, SERIAL_PORT_ADD, 1, NULL, 0);
    if (!serial_multiport(p->owner) && !p->nr && p->owner->v.status & VIRTIO_DRIVER_OK)
        serial_port_opened(p, true);
}

static void bus_unplug(Bus *b, Device *d)
{
    SerialPort *p = (SerialPort *)d;
    VirtioSerial *s = p->owner;

    if (!s)
        return;
    serial_port_drop(p, true);
    s->ports[p->nr] = NULL;
    serial_say(s, p->nr, SERIAL_PORT_REMOVE, 1, NULL, 0);
    p->owner = NULL;
}

static const BusClass bus_class = {
    .name = "virtio-serial-bus", .plug = bus_plug, .plugged = bus_plugged, .unplug = bus_unplug,
};

/* ---- the device */

static Err *realize(Device *d)
{
    VirtioSerial *s = (VirtioSerial *)d;
    const char *id = d->id ? d->id : d->outer ? d->outer->id : NULL;
    g_autofree char *name = NULL;

    if (!s->max_ports || s->max_ports > SERIAL_PORTS_MOST || 2 * (s->max_ports + 1) > VIRTIO_QUEUES)
        return err_hint(err(ERR_INVALID, "max_ports=%u", s->max_ports), "1 to %d ports are possible; 31 is usual.",
                        MIN(SERIAL_PORTS_MOST, VIRTIO_QUEUES / 2 - 1));
    for (unsigned i = 0; !id && (i == 0 || bus_find(d->vm, name)); i++) {
        g_free(name);
        name = g_strdup_printf("virtio-serial-bus.%u", i);
    }
    if (id)
        name = g_strdup_printf("%s.0", id);
    virtio_init(&s->v, &ops, CONFIG_SIZE);
    s->ports = g_new0(SerialPort *, s->max_ports);
    g_queue_init(&s->said);
    for (unsigned i = 0; i < 2 * (s->max_ports + 1); i++)
        virtio_add_queue(&s->v, i == Q_CONTROL_RX || i == Q_CONTROL_TX ? CONTROL_SIZE : QUEUE_SIZE, NULL);
    s->bus.owner = s;
    bus_init(d->vm, &s->bus.bus, &bus_class, name, d);
    s->bus.bus.hotplug = true;
    return NULL;
}

static void unrealize(Device *d)
{
    VirtioSerial *s = (VirtioSerial *)d;

    if (!s->ports)
        return;
    virtio_clear(&s->v);
    forget(s);
    for (uint32_t i = 0; i < s->max_ports; i++)
        if (s->ports[i])
            s->ports[i]->owner = NULL;
    bus_clear(d->vm, &s->bus.bus);
    g_free(s->ports);
    s->ports = NULL;
}

static void save(Device *d, StateOut *out)
{
    const VirtioSerial *s = (VirtioSerial *)d;
    unsigned n = 0;

    for (const GList *l = s->said.head; l; l = l->next) {
        g_autofree char *name = g_strdup_printf("said%u", n++);
        gsize len;
        const void *data = g_bytes_get_data(l->data, &len);

        state_put(out, name, 1, data, len);
    }
}

static Err *load(Device *d, StateIn *in)
{
    VirtioSerial *s = (VirtioSerial *)d;

    for (unsigned n = 0; n < SAID_MOST; n++) {
        g_autofree char *name = g_strdup_printf("said%u", n);
        const void *data;
        size_t len;

        if (!state_has(in, name))
            break;
        TRY(state_get_any(in, name, 1, MESSAGE + 1024, &data, &len));
        g_queue_push_tail(&s->said, g_bytes_new(data, len));
    }
    return NULL;
}

static const Field fields[] = {
    PROP(VirtioSerial, max_ports, .as = "max_ports", .def = "31", .doc = "ports it can have; 1: a console and no messages"),
    PROP(VirtioSerial, emergency_write, .def = "on", .doc = "a byte may be written before there is a driver"),
    TRANSIENT(VirtioSerial, v), TRANSIENT(VirtioSerial, bus), TRANSIENT(VirtioSerial, ports), STATE(VirtioSerial, ready, .keep = true),
    TRANSIENT(VirtioSerial, said), TRANSIENT(VirtioSerial, cols), TRANSIENT(VirtioSerial, rows),
    {0}
};

DEVICE(virtio_serial) = {
    .name = "virtio-serial-device", .bus = "virtio-bus", .doc = "consoles and ports: -device virtconsole, virtserialport",
    .size = sizeof(VirtioSerial), .fields = fields, .base = virtio_fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load,
};

DEVICE(virtio_serial_pci) = VIRTIO_PCI("virtio-serial-pci", device_virtio_serial, "consoles and ports: -device virtconsole, virtserialport", .alias = "virtio-serial");
