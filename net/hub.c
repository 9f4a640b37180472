/* SPDX-License-Identifier: MIT */
/*
 * Hubs (-netdev hubport): what one port sends all others of the hub get. A
 * port that has no room misses a frame, so that it holds up nobody else.
 *
 * A ring of hubs would repeat a frame without end, so it is refused.
 */
#include <string.h>

#include "net/net-priv.h"

typedef struct HubPort HubPort;
typedef struct Hub {
    uint32_t id;
    HubPort *ports;
    struct Hub *next;
    bool seen;                      /* by the search for rings */
} Hub;

struct HubPort {
    NetPort port;
    char *netdev;
    uint32_t hubid;
    Hub *hub;
    HubPort *next;
};

static bool hub_frame(NetPort *p, const IoVec *frame)
{
    HubPort *from = (HubPort *)p;

    for (HubPort *h = from->hub->ports; h; h = h->next) {
        if (h != from && !net_send(&h->port, frame))
            h->port.seen = h->port.waiting = false;
    }
    return true;
}

static bool is_hub_port(const NetPort *p)
{
    return p && p->ops->frame == hub_frame;
}

/* Does a way lead from this hub, other than by `by`, to the other one? */
static bool leads_to(Hub *from, const HubPort *by, const Hub *to)
{
    if (from == to)
        return true;
    for (HubPort *h = from->ports; h; h = h->next)
        if (h != by && is_hub_port(h->port.peer) &&
            leads_to(((HubPort *)h->port.peer)->hub, (HubPort *)h->port.peer, to))
            return true;
    return false;
}

static Hub *hub_get(Net *n, uint32_t id)
{
    Hub *h = n->hubs;

    while (h && h->id != id)
        h = h->next;
    if (!h) {
        h = g_new0(Hub, 1);
        h->id = id;
        h->next = n->hubs;
        n->hubs = h;
    }
    return h;
}

static void hub_leave(NetPort *p)
{
    HubPort *h = (HubPort *)p, **at = &h->hub->ports;

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
}

static const NetOps hub_ops = { .frame = hub_frame, .free = hub_leave };

static Err *hub_start(NetPort *p)
{
    HubPort *h = (HubPort *)p;
    NetPort *other = NULL;

    if (h->netdev)
        TRY(net_find(p->net, h->netdev, 0, &other));
    h->hub = hub_get(p->net, h->hubid);
    if (is_hub_port(other) && leads_to(((HubPort *)other)->hub, (HubPort *)other, h->hub))
        return err(ERR_INVALID, "that would make a ring of hubs, in which a frame goes round for ever");
    h->next = h->hub->ports;
    h->hub->ports = h;
    p->ops = &hub_ops;
    return other ? net_link_ports(p, other) : NULL;
}

void hubs_free(Net *n)
{
    while (n->hubs) {
        Hub *h = n->hubs;

        n->hubs = h->next;
        g_free(h);
    }
}

static char *hub_info(NetPort *p)
{
    return g_strdup_printf("hubid=%u", ((HubPort *)p)->hubid);
}

static const Field hub_fields[] = {
    PROP(HubPort, hubid, .doc = "which hub"),
    PROP(HubPort, netdev, .doc = "a backend that is joined to it; without, a NIC is"),
    { 0 }
};

NETDEV(hubport) = {
    .name = "hubport", .doc = "a port of a hub, to which NICs and backends are joined",
    .size = sizeof(HubPort), .fields = hub_fields, .start = hub_start, .info = hub_info,
};
