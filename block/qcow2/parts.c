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

/* ---- snapshot.c */

Err *qcow2_snapshots_load(Qcow2 *s) { return s->header.nb_snapshots ? missing(s, "internal snapshots") : NULL; }
void qcow2_snapshots_free(Qcow2 *s) {}
Err *qcow2_snapshots(BlockNode *n, Snapshot **list, unsigned *count)
{
    *list = NULL;
    *count = 0;
    return NULL;
}
Err *qcow2_snapshot_create(BlockNode *n, Snapshot *sn) { return missing(qcow2_of(n), "internal snapshots"); }
Err *qcow2_snapshot_apply(BlockNode *n, const char *id) { return missing(qcow2_of(n), "internal snapshots"); }
Err *qcow2_snapshot_delete(BlockNode *n, const char *id) { return missing(qcow2_of(n), "internal snapshots"); }
Err *qcow2_snapshot_load_one(BlockNode *n, const char *id) { return missing(qcow2_of(n), "internal snapshots"); }

/* ---- check.c */

int qcow2_check(BlockNode *n, CheckResult *out, unsigned fix) { return -ENOTSUP; }
Err *qcow2_repair_dirty(Qcow2 *s) { return missing(s, "repairs"); }

/* ---- bitmaps.c */

Err *qcow2_bitmaps_load(Qcow2 *s) { return NULL; }
Err *qcow2_bitmaps_store(Qcow2 *s) { return NULL; }
json_t *qcow2_bitmaps_info(Qcow2 *s) { return NULL; }
Err *qcow2_bitmaps_resized(Qcow2 *s, uint64_t len) { return s->bitmaps_ext.nb_bitmaps ? missing(s, "persistent bitmaps") : NULL; }
Err *qcow2_bitmap_can_store(BlockNode *n, const char *name, uint32_t g) { return missing(qcow2_of(n), "persistent bitmaps"); }
Err *qcow2_bitmap_remove(BlockNode *n, const char *name) { return missing(qcow2_of(n), "persistent bitmaps"); }
Err *qcow2_bitmaps_measure(BlockNode *source, uint64_t cluster_size, uint64_t *bytes)
{
    *bytes = 0;
    return NULL;
}

/* ---- crypto.c */

Err *qcow2_crypt_open(Qcow2 *s, unsigned flags) { return missing(s, "encryption"); }
void qcow2_crypt_close(Qcow2 *s) {}
int qcow2_encrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len) { return -ENOTSUP; }
int qcow2_decrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len) { return -ENOTSUP; }
Err *qcow2_crypt_create(Qcow2 *s, const Qcow2Create *o) { return missing(s, "encryption"); }
Err *qcow2_crypt_measure(const Qcow2Create *o, uint64_t *bytes)
{
    return err(ERR_UNSUPPORTED, "encrypted qcow2 images are not supported by this build");
}
json_t *qcow2_crypt_info(Qcow2 *s) { return NULL; }

/* ---- amend.c */

const Field qcow2_amend_fields[] = { { 0 } };
Err *qcow2_amend(BlockNode *n, const void *opts, const json_t *given, bool force,
                 void (*progress)(void *, uint64_t, uint64_t), void *opaque)
{
    return missing(qcow2_of(n), "amending");
}
