/* SPDX-License-Identifier: MIT */
/* Joining NICs to backends. */
#include "hw/nic/nic.h"

void nic_run(Vm *vm, void (*fn)(void *), void *arg)
{
    if (vm->net_thread)
        iothread_run(vm->net_thread, fn, arg);
    else
        fn(arg);
}

typedef struct Join { Vm *vm; NetPort *port; const char *netdev; unsigned queue; Err *e; } Join;

static void join(void *opaque)
{
    Join *j = opaque;
    NetPort *peer = NULL;

    j->e = net_find(j->vm->net, j->netdev, j->queue, &peer);
    if (!j->e)
        j->e = net_link_ports(j->port, peer);
}

Err *nic_attach(Vm *vm, NetPort *port, const char *netdev, unsigned queue)
{
    Join j = { vm, port, netdev, queue, NULL };

    if (!netdev || !*netdev)
        return NULL;
    if (!vm->net)
        return err(ERR_NOT_FOUND, "there is no network backend '%s'", netdev);
    port->net = vm->net;
    nic_run(vm, join, &j);
    return j.e;
}

static void part(void *opaque)
{
    net_unlink(opaque);
}

void nic_detach(Vm *vm, NetPort *port)
{
    if (port->ops)
        nic_run(vm, part, port);
}

typedef struct Count { Vm *vm; const char *netdev; unsigned n; } Count;

static void count(void *opaque)
{
    Count *c = opaque;

    c->n = net_queues(c->vm->net, c->netdev);
}

unsigned nic_queues(Vm *vm, const char *netdev)
{
    Count c = { vm, netdev, 1 };

    if (vm->net && netdev)
        nic_run(vm, count, &c);
    return MAX(c.n, 1);
}

Err *nic_mac(Vm *vm, const char *text, Mac *out)
{
    if (text)
        return mac_parse(text, out);
    *out = vm->net ? net_new_mac(vm->net) : (Mac){ { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 } };
    return NULL;
}
