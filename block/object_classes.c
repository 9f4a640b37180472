/* SPDX-License-Identifier: MIT */
/*
 * The list of object kinds. iothread is here as well: tools take the lines that
 * machines have, and run everything in their one loop.
 */
#include "block/objects-priv.h"

typedef struct IoThread {
    Object ob;
    int64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch;
} IoThread;

static const Field iothread_fields[] = {
    PROP(IoThread, poll_max_ns, .def = "32768", .doc = "accepted; the loop does not poll"),
    PROP(IoThread, poll_grow, .def = "0", .doc = "accepted, without effect"),
    PROP(IoThread, poll_shrink, .def = "0", .doc = "accepted, without effect"),
    PROP(IoThread, aio_max_batch, .def = "0", .doc = "accepted, without effect"),
    {0}
};

const ObjectClass object_iothread = {
    .name = "iothread", .doc = "a thread for disks' requests", .size = sizeof(IoThread), .fields = iothread_fields,
};

const ObjectClass *const object_classes[] = {
    &object_iothread,
    &object_secret,
    &object_throttle_group,
    &object_tls_creds_x509,
    &object_tls_creds_psk,
    NULL
};
