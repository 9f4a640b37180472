/* SPDX-License-Identifier: MIT */
/* Virtio devices as their drivers have set them up. Names of bits are those of the virtio 1.2 specification. */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "hw/core/board.h"
#include "hw/virtio/virtio.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"

typedef struct Bit { unsigned bit; const char *name; } Bit;

static const Bit ring_bits[] = {
    { VIRTIO_F_NOTIFY_ON_EMPTY, "VIRTIO_F_NOTIFY_ON_EMPTY: interrupts when a queue runs empty (legacy)" },
    { VIRTIO_F_ANY_LAYOUT, "VIRTIO_F_ANY_LAYOUT: buffers may be cut anywhere (legacy)" },
    { VIRTIO_F_INDIRECT_DESC, "VIRTIO_F_INDIRECT_DESC: tables of descriptors elsewhere" },
    { VIRTIO_F_EVENT_IDX, "VIRTIO_F_EVENT_IDX: each side says at which entry it wants to be told" },
    { VIRTIO_F_VERSION_1, "VIRTIO_F_VERSION_1: not the legacy interface" },
    { VIRTIO_F_ACCESS_PLATFORM, "VIRTIO_F_ACCESS_PLATFORM: memory is reached as the platform says (IOMMU)" },
    { VIRTIO_F_RING_PACKED, "VIRTIO_F_RING_PACKED: packed queues" },
    { VIRTIO_F_IN_ORDER, "VIRTIO_F_IN_ORDER: buffers come back in order" },
    { VIRTIO_F_ORDER_PLATFORM, "VIRTIO_F_ORDER_PLATFORM: barriers as for hardware" },
    { VIRTIO_F_NOTIFICATION_DATA, "VIRTIO_F_NOTIFICATION_DATA: the bell says how far the driver is" },
    { VIRTIO_F_RING_RESET, "VIRTIO_F_RING_RESET: single queues may be reset" },
    { 0, NULL }
};

/* Section 5: by the kind of device. */
static const Bit net_bits[] = {
    { 0, "VIRTIO_NET_F_CSUM" }, { 1, "VIRTIO_NET_F_GUEST_CSUM" }, { 2, "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS" }, { 3, "VIRTIO_NET_F_MTU" },
    { 5, "VIRTIO_NET_F_MAC" }, { 6, "VIRTIO_NET_F_GSO" }, { 7, "VIRTIO_NET_F_GUEST_TSO4" }, { 8, "VIRTIO_NET_F_GUEST_TSO6" }, { 9, "VIRTIO_NET_F_GUEST_ECN" },
    { 10, "VIRTIO_NET_F_GUEST_UFO" }, { 11, "VIRTIO_NET_F_HOST_TSO4" }, { 12, "VIRTIO_NET_F_HOST_TSO6" }, { 13, "VIRTIO_NET_F_HOST_ECN" },
    { 14, "VIRTIO_NET_F_HOST_UFO" }, { 15, "VIRTIO_NET_F_MRG_RXBUF" }, { 16, "VIRTIO_NET_F_STATUS" }, { 17, "VIRTIO_NET_F_CTRL_VQ" },
    { 18, "VIRTIO_NET_F_CTRL_RX" }, { 19, "VIRTIO_NET_F_CTRL_VLAN" }, { 20, "VIRTIO_NET_F_CTRL_RX_EXTRA" },
    { 21, "VIRTIO_NET_F_GUEST_ANNOUNCE" }, { 22, "VIRTIO_NET_F_MQ" }, { 23, "VIRTIO_NET_F_CTRL_MAC_ADDR" }, { 54, "VIRTIO_NET_F_GUEST_USO4" },
    { 55, "VIRTIO_NET_F_GUEST_USO6" }, { 56, "VIRTIO_NET_F_HOST_USO" },
    { 57, "VIRTIO_NET_F_HASH_REPORT" }, { 59, "VIRTIO_NET_F_GUEST_HDRLEN" }, { 60, "VIRTIO_NET_F_RSS" }, { 61, "VIRTIO_NET_F_RSC_EXT" },
    { 62, "VIRTIO_NET_F_STANDBY" }, { 63, "VIRTIO_NET_F_SPEED_DUPLEX" }, { 0, NULL }
};
static const Bit blk_bits[] = {
    { 1, "VIRTIO_BLK_F_SIZE_MAX" }, { 2, "VIRTIO_BLK_F_SEG_MAX" }, { 4, "VIRTIO_BLK_F_GEOMETRY" }, { 5, "VIRTIO_BLK_F_RO" },
    { 6, "VIRTIO_BLK_F_BLK_SIZE" }, { 7, "VIRTIO_BLK_F_SCSI" }, { 9, "VIRTIO_BLK_F_FLUSH" }, { 10, "VIRTIO_BLK_F_TOPOLOGY" },
    { 11, "VIRTIO_BLK_F_CONFIG_WCE" }, { 12, "VIRTIO_BLK_F_MQ" }, { 13, "VIRTIO_BLK_F_DISCARD" }, { 14, "VIRTIO_BLK_F_WRITE_ZEROES" },
    { 15, "VIRTIO_BLK_F_LIFETIME" }, { 16, "VIRTIO_BLK_F_SECURE_ERASE" }, { 0, NULL }
};
static const Bit console_bits[] = {
    { 0, "VIRTIO_CONSOLE_F_SIZE" }, { 1, "VIRTIO_CONSOLE_F_MULTIPORT" }, { 2, "VIRTIO_CONSOLE_F_EMERG_WRITE" }, { 0, NULL }
};
static const Bit balloon_bits[] = {
    { 0, "VIRTIO_BALLOON_F_MUST_TELL_HOST" }, { 1, "VIRTIO_BALLOON_F_STATS_VQ" }, { 2, "VIRTIO_BALLOON_F_DEFLATE_ON_OOM" },
    { 3, "VIRTIO_BALLOON_F_FREE_PAGE_HINT" }, { 4, "VIRTIO_BALLOON_F_PAGE_POISON" }, { 5, "VIRTIO_BALLOON_F_PAGE_REPORTING" }, { 0, NULL }
};
static const Bit scsi_bits[] = {
    { 0, "VIRTIO_SCSI_F_INOUT" }, { 1, "VIRTIO_SCSI_F_HOTPLUG" }, { 2, "VIRTIO_SCSI_F_CHANGE" }, { 3, "VIRTIO_SCSI_F_T10_PI" }, { 0, NULL }
};
static const Bit p9_bits[] = { { 0, "VIRTIO_9P_F_MOUNT_TAG" }, { 0, NULL } };
static const Bit no_bits[] = { { 0, NULL } };

static const Bit *kind_bits(uint16_t id)
{
    switch (id) {
    case 1: return net_bits;
    case 2: return blk_bits;
    case 3: return console_bits;
    case 5: return balloon_bits;
    case 8: return scsi_bits;
    case 9: return p9_bits;
    default: return no_bits;
    }
}

/* The names of those that are set; they are taken out of *value. */
static json_t *named(const Bit *bits, uint64_t *value)
{
    json_t *list = json_array();

    for (; bits->name; bits++) {
        if (*value >> bits->bit & 1)
            json_array_append_new(list, json_string(bits->name));
        *value &= ~(UINT64_C(1) << bits->bit);
    }
    return list;
}

static json_t *features_json(uint16_t id, uint64_t value)
{
    json_t *ring = named(ring_bits, &value), *own = named(kind_bits(id), &value);
    json_t *v = json_pack("{s:o, s:o}", "transports", ring, "dev-features", own);

    if (value)
        json_object_set_new(v, "unknown-dev-features", json_integer((json_int_t)value));
    return v;
}

static json_t *status_json(uint64_t status)
{
    static const Bit bits[] = {
        { 0, "VIRTIO_CONFIG_S_ACKNOWLEDGE: the guest has found it" }, { 1, "VIRTIO_CONFIG_S_DRIVER: there is a driver for it" },
        { 3, "VIRTIO_CONFIG_S_FEATURES_OK: features are agreed upon" }, { 2, "VIRTIO_CONFIG_S_DRIVER_OK: the driver works" },
        { 6, "VIRTIO_CONFIG_S_NEEDS_RESET: it cannot go on" }, { 7, "VIRTIO_CONFIG_S_FAILED: the driver has given up" }, { 0, NULL }
    };
    json_t *v = json_pack("{s:o}", "statuses", named(bits, &status));

    if (status)
        json_object_set_new(v, "unknown-statuses", json_integer((json_int_t)status));
    return v;
}

static bool is_virtio(const Device *d)
{
    return d->bus && d->bus->cls == &virtio_bus_class && d->realized;
}

Err *qmp_x_query_virtio(Monitor *m, const XQueryVirtioArgs *args, json_t **ret)
{
    const Machine *machine = machine_of(m->vm);

    *ret = json_array();
    for (Device *d = machine ? machine->devices : NULL; d; d = d->next) {
        if (!is_virtio(d))
            continue;
        g_autofree char *path = view_device_path(d);
        json_array_append_new(*ret, json_pack("{s:s, s:s}", "path", path, "name", ((VirtioDevice *)d)->ops->name));
    }
    return NULL;
}

static Err *find(Monitor *m, const char *path, VirtioDevice **out)
{
    Device *d = view_device(m->vm, path);

    if (!d || !is_virtio(d))
        return err(ERR_NOT_FOUND, "Path %s is not a VirtIODevice", path);
    *out = (VirtioDevice *)d;
    return NULL;
}

Err *qmp_x_query_virtio_status(Monitor *m, const XQueryVirtioStatusArgs *args, json_t **ret)
{
    VirtioDevice *v = NULL;

    TRY(find(m, args->path, &v));
    uint8_t status = atomic_load(&v->status);
    uint16_t id = v->ops->id;
    *ret = json_pack("{s:s, s:i, s:b, s:o, s:o, s:o, s:s, s:i, s:o}", "name", v->ops->name, "device-id", id, "vhost-started", 0,
                     "guest-features", features_json(id, v->features), "host-features", features_json(id, v->offered),
                     "backend-features", features_json(id, 0), "device-endian", "little", "num-vqs", (int)v->n_queues,
                     "status", status_json(status));
    json_t *more = json_pack("{s:i, s:i, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:s, s:b}", "isr", atomic_load(&v->isr), "queue-sel",
                             v->transport ? (int)v->transport->selected(v->transport_opaque) : 0, "vm-running",
                             m->vm->state == RUN_RUNNING, "broken", (status & VIRTIO_NEEDS_RESET) != 0, "disabled", 0, "use-started", 1,
                             "started", (status & VIRTIO_DRIVER_OK) != 0, "start-on-kick", 0, "disable-legacy-check", 0,
                             "bus-name", v->dev.bus->name ? v->dev.bus->name : "", "use-guest-notifier-mask", 0);
    json_object_update(*ret, more);
    json_decref(more);
    return NULL;
}

Err *qmp_x_query_virtio_queue_status(Monitor *m, const XQueryVirtioQueueStatusArgs *args, json_t **ret)
{
    VirtioDevice *v = NULL;
    VirtqState s;

    TRY(find(m, args->path, &v));
    if ((uint64_t)args->queue >= v->n_queues)
        return err(ERR_INVALID, "Invalid virtqueue number %d", (int)args->queue);
    virtq_state(v->queues[args->queue], &s);
    *ret = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:b}", "name", v->ops->name,
                     "queue-index", (int)args->queue, "inuse", (int)s.flying, "vring-num", (int)s.size, "vring-num-default", (int)s.max,
                     "vring-align", 4096, "vring-desc", (json_int_t)s.at.desc, "vring-avail", (json_int_t)s.at.avail, "vring-used",
                     (json_int_t)s.at.used, "last-avail-idx", s.next, "shadow-avail-idx", s.seen, "used-idx", s.used,
                     "signalled-used", s.told, "signalled-used-valid", s.told_valid);
    return NULL;
}

/* ---- for people */

void print_virtio(GString *out, const json_t *list)
{
    const json_t *v;
    size_t i;

    json_array_foreach(list, i, v)
        g_string_append_printf(out, "%s [%s]\n", json_string_value(json_object_get(v, "path")), json_string_value(json_object_get(v, "name")));
}

static void print_lines(GString *out, const json_t *list)
{
    const json_t *v;
    size_t i;

    json_array_foreach(list, i, v)
        g_string_append_printf(out, "    %s\n", json_string_value(v));
}

static void print_features(GString *out, const char *title, const json_t *f)
{
    const json_t *unknown = json_object_get(f, "unknown-dev-features");

    g_string_append_printf(out, "  %s:\n", title);
    print_lines(out, json_object_get(f, "transports"));
    print_lines(out, json_object_get(f, "dev-features"));
    if (unknown)
        g_string_append_printf(out, "    others: %#" PRIx64 "\n", (uint64_t)json_integer_value(unknown));
}

/* A number, a text or a truth, in a line of its own. */
static void print_member(GString *out, const json_t *v, const char *name)
{
    const json_t *m = json_object_get(v, name);

    bool address = !strcmp(name, "vring-desc") || !strcmp(name, "vring-avail") || !strcmp(name, "vring-used");

    if (address)
        g_string_append_printf(out, "  %-24s 0x%016" PRIx64 "\n", name, (uint64_t)json_integer_value(m));
    else if (json_is_integer(m))
        g_string_append_printf(out, "  %-24s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(m));
    else if (json_is_string(m))
        g_string_append_printf(out, "  %-24s %s\n", name, json_string_value(m));
    else
        g_string_append_printf(out, "  %-24s %s\n", name, json_is_true(m) ? "true" : "false");
}

void print_virtio_status(GString *out, const json_t *v)
{
    static const char *const members[] = {
        "name", "device-id", "bus-name", "broken", "started", "vm-running", "num-vqs", "queue-sel", "isr", "device-endian",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(members); i++)
        print_member(out, v, members[i]);
    g_string_append(out, "  Status:\n");
    print_lines(out, json_object_get(json_object_get(v, "status"), "statuses"));
    print_features(out, "Guest features", json_object_get(v, "guest-features"));
    print_features(out, "Host features", json_object_get(v, "host-features"));
}

void print_virtio_queue(GString *out, const json_t *v)
{
    static const char *const members[] = {
        "name", "queue-index", "inuse", "used-idx", "signalled-used", "signalled-used-valid", "last-avail-idx", "shadow-avail-idx",
        "vring-num", "vring-num-default", "vring-align", "vring-desc", "vring-avail", "vring-used",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(members); i++)
        print_member(out, v, members[i]);
}
