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

/* virtio-net: its driver shall tell the network where it is, after a move. Under the machine lock. */
void virtio_net_announce(Device *d);

#endif
