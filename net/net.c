/* SPDX-License-Identifier: MIT */
/*
 * Ports and links between them: frames on their way from one side to the other,
 * made into what that side understands, kept where it has no room.
 */
#include "net/net-priv.h"

#include <string.h>

#include "net/offload.h"
#include "util/str.h"

/* Parts of a frame that was cut: some were taken already, so these must follow. At most one frame's. */
typedef struct NetHeld {
    struct NetHeld *next;
    size_t len;
    uint8_t bytes[];
} NetHeld;

/* ---- frames */

static void look(NetPort *p, const IoVec *frame, unsigned hdr_len, bool from_port)
{
    if (!p->taps || frame->len < hdr_len)
        return;
    IoVec plain = iov_slice(frame, hdr_len, frame->len - hdr_len);

    for (NetTap *t = p->taps; t; t = t->next)
        t->frame(t, &plain, from_port);
}

/* A frame that begins with a header of `has` bytes (or none), to a port that wants another length. */
static bool give_with(NetPort *to, const IoVec *frame, unsigned has)
{
    enum { MOST = 64 };
    uint8_t hdr[NET_HDR_LEN] = { 0 };
    struct iovec v[MOST + 1] = { { hdr, to->hdr_len } };
    IoVec plain = iov_slice(frame, has, frame->len - has);
    g_autofree uint8_t *flat = NULL;
    size_t bytes;

    if (!to->hdr_len)
        return to->ops->frame(to, &plain);
    if (has)
        iov_read(frame, 0, hdr, MIN(has, to->hdr_len));
    unsigned n = iov_elements(&plain, v + 1, MOST, &bytes);

    if (bytes < plain.len) {
        flat = g_malloc(plain.len);
        iov_read(&plain, 0, flat, plain.len);
        v[1] = (struct iovec){ flat, plain.len };
        n = 1;
    }
    IoVec whole = { v, n + 1, 0, to->hdr_len + plain.len };

    return to->ops->frame(to, &whole);
}

static void hold(NetPort *from, const IoVec *plain)
{
    NetHeld *h = g_malloc(sizeof(*h) + plain->len), **end = &from->held;

    h->next = NULL;
    h->len = plain->len;
    iov_read(plain, 0, h->bytes, plain->len);
    while (*end)
        end = &(*end)->next;
    *end = h;
}

static void give_part(void *opaque, const IoVec *plain)
{
    NetPort *from = opaque;

    if (from->held || (from->peer && !give_with(from->peer, plain, 0)))
        hold(from, plain);
}

static void drop_held(NetPort *p)
{
    while (p->held) {
        NetHeld *h = p->held;

        p->held = h->next;
        g_free(h);
    }
}

/* What was kept goes first. False: there is still no room. */
static bool give_held(NetPort *from)
{
    while (from->held && from->peer) {
        NetHeld *h = from->held;
        IoVec plain = IOV_BUF(h->bytes, h->len);

        if (!give_with(from->peer, &plain, 0))
            return false;
        from->held = h->next;
        g_free(h);
    }
    drop_held(from);
    return true;
}

static bool give(NetPort *from, const IoVec *frame)
{
    NetPort *to = from->peer;
    unsigned needs = 0;

    if (from->hdr_len) {
        NetHdr h = net_hdr(frame);

        needs = net_hdr_needs(&h);
    }
    if (needs & ~from->may_send) {
        net_cut(frame, from->hdr_len, give_part, from);
        return true;
    }
    if (from->hdr_len == to->hdr_len)
        return to->ops->frame(to, frame);
    return give_with(to, frame, from->hdr_len);
}

bool net_send(NetPort *from, const IoVec *frame)
{
    NetPort *to = from->peer;

    if (!to || from->link_down || to->link_down || frame->len < from->hdr_len + 14u ||
        frame->len > from->hdr_len + (size_t)NET_FRAME_MAX)
        return true;
    if (from->held && !give_held(from)) {
        from->waiting = true;
        return false;
    }
    /* Seen before it is given, as the answer may come from within. */
    if (!from->seen) {
        look(from, frame, from->hdr_len, true);
        look(to, frame, from->hdr_len, false);
    }
    from->seen = false;
    if (give(from, frame))
        return true;
    from->seen = from->waiting = true;
    return false;
}

void net_room(NetPort *port)
{
    NetPort *p = port->peer;

    if (!p || (p->held && !give_held(p)) || !p->waiting)
        return;
    p->waiting = false;
    if (p->ops->room)
        p->ops->room(p);
}

/* ---- links */

static unsigned takes(const NetPort *p)
{
    return p && p->hdr_len && p->ops->offloads ? p->ops->offloads((NetPort *)p) : 0;
}

static void agree(NetPort *a)
{
    a->may_send = takes(a->peer);
    if (a->ops->expects)
        a->ops->expects(a);
}

static void tell_link(NetPort *p, bool up)
{
    if (p && p->ops->link)
        p->ops->link(p, up);
}

Err *net_link_ports(NetPort *a, NetPort *b)
{
    NetPort *taken = a->peer ? a : b->peer ? b : NULL;

    if (taken)
        return err_hint(err(ERR_BUSY, "'%s' is in use already, by '%s'", taken->name, taken->peer->name),
                        "Each backend serves one NIC; -netdev hubport joins more.");
    a->peer = b;
    b->peer = a;
    agree(a);
    agree(b);
    bool up = !a->link_down && !b->link_down;

    tell_link(a, up);
    tell_link(b, up);
    return NULL;
}

void net_unlink(NetPort *p)
{
    NetPort *o = p->peer;

    drop_held(p);
    p->waiting = p->seen = false;
    if (!o)
        return;
    drop_held(o);
    p->peer = o->peer = NULL;
    p->may_send = o->may_send = 0;
    o->seen = false;
    if (o->ops->gone)
        o->ops->gone(o);
    /* Its frames are dropped from now on, so it need not wait. */
    if (o->waiting) {
        o->waiting = false;
        if (o->ops->room)
            o->ops->room(o);
    }
}

void net_expect(NetPort *nic, unsigned hdr_len)
{
    NetPort *o = nic->peer;

    nic->hdr_len = hdr_len;
    if (!o)
        return;
    if (o->ops->header && o->ops->header(o, hdr_len))
        o->hdr_len = hdr_len;
    agree(nic);
    agree(o);
}

void net_set_link(NetPort *p, bool up)
{
    if (p->link_down != up)
        return;
    p->link_down = !up;
    bool both = up && !(p->peer && p->peer->link_down);

    tell_link(p, both);
    tell_link(p->peer, both);
    if (up) {
        net_room(p);
        if (p->peer)
            net_room(p->peer);
    }
}

/* ---- the machine's network */

Net *net_new(Loop *loop)
{
    Net *n = g_new0(Net, 1);

    n->loop = loop;
    return n;
}

void net_name_fds(Net *n, NetTakeFd *fn, void *opaque)
{
    n->take_fd = fn;
    n->fds_of = opaque;
}

Err *net_take_fd(Net *n, const char *text, int *fd)
{
    uint64_t number;

    if (!g_ascii_isdigit(*text) && n->take_fd)
        return n->take_fd(n->fds_of, text, fd);
    TRY(parse_num(text, &number));
    if (number > INT_MAX)
        return err(ERR_INVALID, "%s is no descriptor", text);
    *fd = (int)number;
    return NULL;
}

void net_port_free(NetPort *p)
{
    net_unlink(p);
    while (p->taps) {
        NetTap *t = p->taps;

        p->taps = t->next;
        t->free(t);
    }
    if (p->ops && p->ops->free)
        p->ops->free(p);
    props_clear(p, p->kind->fields);
    g_free(p->name);
    g_free(p);
}

void net_free(Net *n)
{
    if (!n)
        return;
    while (n->backends) {
        NetPort *p = n->backends;

        n->backends = p->next;
        net_port_free(p);
    }
    hubs_free(n);
    g_free(n);
}

Loop *net_loop(Net *n)
{
    return n->loop;
}

NetPort *net_next(Net *n, NetPort *after)
{
    return after ? after->next : n->backends;
}

static NetPort *find(Net *n, const char *id)
{
    for (NetPort *p = n->backends; p; p = p->next)
        if (!strcmp(p->name, id))
            return p;
    return NULL;
}

bool net_exists(Net *n, const char *id)
{
    return find(n, id) != NULL;
}

Err *net_backend(Net *n, const char *id, NetPort **out)
{
    g_autoptr(GString) all = g_string_new(NULL);

    *out = find(n, id);
    if (*out)
        return NULL;
    for (NetPort *p = n->backends; p; p = p->next)
        if (*p->name != '#')                /* nobody named that one */
            g_string_append_printf(all, "%s%s", all->len ? ", " : "", p->name);
    return err_hint(err(ERR_NOT_FOUND, "there is no network backend '%s'", id),
                    all->len ? "There is: %s." : "None was given: -netdev user,id=%s makes one.",
                    all->len ? all->str : id);
}

unsigned net_queues(Net *n, const char *id)
{
    NetPort *p = find(n, id);

    return !p ? 0 : p->kind->queues ? p->kind->queues(p) : 1;
}

Err *net_find(Net *n, const char *id, unsigned queue, NetPort **out)
{
    NetPort *p = NULL;

    TRY(net_backend(n, id, &p));
    if (queue >= net_queues(n, id))
        return err(ERR_INVALID, "the network backend '%s' has no queue %u", id, queue);
    p = p->kind->queue ? p->kind->queue(p, queue) : p;
    if (p->peer)
        return err_hint(err(ERR_BUSY, "the network backend '%s' is in use already, by '%s'", id, p->peer->name),
                        "Each backend serves one NIC; -netdev hubport joins more.");
    *out = p;
    return NULL;
}

Err *net_del(Net *n, const char *id)
{
    NetPort *p = NULL, **at = &n->backends;

    TRY(net_backend(n, id, &p));
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    net_port_free(p);
    return NULL;
}

Err *net_forward(Net *n, const char *id, const char *rule, bool add)
{
    NetPort *p = NULL;

    if (id)
        TRY(net_backend(n, id, &p));
    for (NetPort *q = n->backends; !p && q; q = q->next)
        if (q->kind->forward)
            p = q;
    if (!p || !p->kind->forward)
        return err_hint(err(ERR_UNSUPPORTED, "%s%s%s", id ? "the network backend " : "no network backend forwards ports",
                            id ? id : "", id ? " does not forward ports" : ""), "-netdev user does.");
    return p->kind->forward(p, rule, add);
}

char *net_info(Net *n)
{
    GString *s = g_string_new(NULL);

    for (NetPort *p = n->backends; p; p = p->next) {
        g_autofree char *more = p->kind->info ? p->kind->info(p) : NULL;

        g_string_append_printf(s, "%s: type=%s%s%s%s%s\n", p->name, p->kind->name, p->peer ? ",peer=" : "",
                               p->peer ? p->peer->name : "", more ? "," : "", more ? more : "");
    }
    return g_string_free(s, false);
}

char *net_sockets(Net *n)
{
    GString *s = g_string_new(NULL);

    for (NetPort *p = n->backends; p; p = p->next) {
        g_autofree char *text = p->kind->sockets ? p->kind->sockets(p) : NULL;

        if (text)
            g_string_append_printf(s, "Hub -1 (%s):\n%s", p->name, text);
    }
    return g_string_free(s, false);
}

/* ---- MAC addresses */

Err *mac_parse(const char *text, Mac *out)
{
    const char *s = text;

    for (int i = 0; i < 6; i++) {
        int n = 0;
        unsigned v = 0;

        for (; n < 2 && g_ascii_isxdigit(*s); n++, s++)
            v = v * 16 + g_ascii_xdigit_value(*s);
        if (!n || (i < 5 ? *s != ':' && *s != '-' : *s != 0))
            goto bad;
        s += i < 5;
        out->a[i] = v;
    }
    if (out->a[0] & 1)
        return err_hint(err(ERR_INVALID, "mac '%s' is a multicast address", text),
                        "The first byte of a NIC's address is even.");
    return NULL;
bad:
    return err_hint(err(ERR_INVALID, "'%s' is no MAC address", text), "It has the form 52:54:00:12:34:56.");
}

Mac net_new_mac(Net *n)
{
    unsigned last = 0x56 + n->macs++;

    return (Mac){ { 0x52, 0x54, 0x00, 0x12, 0x34 + (last >> 8), last } };
}
