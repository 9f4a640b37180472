/* SPDX-License-Identifier: MIT */
/*
 * What all NICs share: their end of the network. A NIC's port lives in the
 * network's thread (vm->net_thread); these are called under the machine lock,
 * from another thread, and wait for that one.
 */
#ifndef HW_NIC_NIC_H
#define HW_NIC_NIC_H

#include "hw/core/device.h"
#include "net/net.h"
#include "system/iothread.h"

/* Runs fn in the network's thread and waits; where the machine has none (tests), at once. */
void nic_run(Vm *vm, void (*fn)(void *), void *arg);
/* Joins the port to queue n of the backend of that id. NULL, or "": to nothing, which is as a cable that is not plugged. */
MUST_USE Err *nic_attach(Vm *vm, NetPort *port, const char *netdev, unsigned queue);
void nic_detach(Vm *vm, NetPort *port);
unsigned nic_queues(Vm *vm, const char *netdev);        /* of the backend; 1 where there is none */
/* The address that `text` says; NULL: the next of the machine. */
MUST_USE Err *nic_mac(Vm *vm, const char *text, Mac *out);

/* Those of -nic, -net, and the usual one; before the devices of -device. */
MUST_USE Err *nics_make(Vm *vm);

/* What a NIC takes of the network, as its driver has told it. */
typedef enum NicTakes { NIC_TAKES_NORMAL, NIC_TAKES_NONE, NIC_TAKES_ALL } NicTakes;
typedef struct NicFilter {
    bool promiscuous, broadcast, multicast_overflow, unicast_overflow;
    NicTakes multicast, unicast, vlan;
    Mac own;
    GArray *unicast_table, *multicast_table;    /* of Mac */
    GArray *vlans;                              /* of uint16_t, descending */
} NicFilter;
/*
 * Fills *out, whose arrays the caller frees (nic_filter_clear), or returns false: it cannot tell. The driver's next change
 * raises NIC_RX_FILTER_CHANGED, with that path. Under the machine lock.
 */
bool virtio_net_filter(Device *d, const char *path, NicFilter *out);
static inline void nic_filter_clear(NicFilter *f)
{
    g_array_free(f->unicast_table, TRUE);
    g_array_free(f->multicast_table, TRUE);
    g_array_free(f->vlans, TRUE);
}

/* virtio-net: its driver shall tell the network where it is, after a move. Under the machine lock. */
void virtio_net_announce(Device *d);

#endif
