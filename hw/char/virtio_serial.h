/* SPDX-License-Identifier: MIT */
/*
 * Between the virtio serial device and its ports, each a device on its bus.
 * All under the machine lock, in whatever thread.
 */
#ifndef HW_CHAR_VIRTIO_SERIAL_H
#define HW_CHAR_VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "hw/virtio/virtio.h"

enum { SERIAL_PORTS_MOST = 511, SERIAL_NO_NR = -1 };

typedef struct VirtioSerial VirtioSerial;

/* What a virtconsole and a virtserialport are. */
typedef struct SerialPort {
    Device dev;
    CharPort chr;
    char *name;
    uint32_t nr;                /* SERIAL_NO_NR: any */
    VirtioSerial *owner;
    bool console;
    bool guest_open, host_open;
    bool told_open;             /* host_open as a driver that is loaded was told */
    bool known;                 /* the driver has said PORT_READY */
    VirtElem *tx; size_t tx_done;       /* the host has not taken all of it; NULL: none */
    VirtElem *rx;               /* the guest's buffer that is filled next; NULL: none was taken yet */
} SerialPort;

typedef struct SerialBus { Bus bus; VirtioSerial *owner; } SerialBus;

/* Section 5.3.6.2: what either side says of ports. */
typedef enum SerialEvent {
    SERIAL_DEVICE_READY, SERIAL_PORT_ADD, SERIAL_PORT_REMOVE, SERIAL_PORT_READY, SERIAL_CONSOLE_PORT, SERIAL_RESIZE,
    SERIAL_PORT_OPEN, SERIAL_PORT_NAME,
} SerialEvent;

struct VirtioSerial {
    VirtioDevice v;
    SerialBus bus;
    uint32_t max_ports;
    bool emergency_write;
    SerialPort **ports;         /* max_ports, by nr */
    bool ready;                 /* the driver has said DEVICE_READY */
    GQueue said;                /* GBytes: control messages that had no buffer yet */
    uint16_t cols, rows;        /* of the console; 0: not known */
};

bool serial_multiport(const VirtioSerial *s);
/* Tells the driver, if it listens; data may be NULL. */
void serial_say(VirtioSerial *s, uint32_t nr, SerialEvent event, uint16_t value, const void *data, size_t len);
void serial_set_size(VirtioSerial *s, SerialPort *p, uint16_t cols, uint16_t rows);
VirtQueue *serial_rx(const SerialPort *p);      /* to the guest */
VirtQueue *serial_tx(const SerialPort *p);      /* from it */

/* The ports' part: buffers are there; the driver opened it, or is gone; an elem of it goes back. */
void serial_port_rx(SerialPort *p);
void serial_port_tx(SerialPort *p);
void serial_port_opened(SerialPort *p, bool open);
void serial_port_introduce(SerialPort *p);      /* the driver has said PORT_READY */
void serial_port_drop(SerialPort *p, bool all); /* its queues rest; not all: only of queues that do so for good */
void serial_port_emergency(SerialPort *p, uint8_t byte);

#endif
