/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what this driver does not have yet, and says so. A function leaves
 * this file when its own file has it.
 */
#include "block/qcow2/qcow2.h"

static Err *missing(const Qcow2 *s, const char *what)
{
    return err(ERR_UNSUPPORTED, "%s: %s of qcow2 images are not supported by this build", node_path((BlockNode *)&s->node), what);
}

/* ---- amend.c */

const Field qcow2_amend_fields[] = { { 0 } };
Err *qcow2_amend(BlockNode *n, const void *opts, const json_t *given, bool force,
                 void (*progress)(void *, uint64_t, uint64_t), void *opaque)
{
    return missing(qcow2_of(n), "amending");
}
