/* SPDX-License-Identifier: MIT */
/*
 * The kinds of objects: one line here and one in object_classes.c for each.
 */
#ifndef BLOCK_OBJECTS_PRIV_H
#define BLOCK_OBJECTS_PRIV_H

#include "block/objects.h"

extern const ObjectClass object_secret, object_iothread, object_throttle_group, object_tls_creds_x509, object_tls_creds_psk;

#endif
