/* SPDX-License-Identifier: MIT */
/*
 * The driver `luks`: a disk in a LUKS1 container, as cryptsetup and QEMU make
 * them. Data begins at the header's payload offset, or at 0 of `file` when the
 * header is detached (child `header`).
 *
 * A disk's ciphertext never meets a guest's memory: reads decrypt out of a
 * buffer of ours, writes encrypt into one. Long requests do that in a worker
 * thread. What was never written decrypts to noise, so this format knows no
 * holes, and bytes won by growing are not zero.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/crypto/crypt_io.h"
#include "block/crypto/luks.h"
#include "block/driver.h"

typedef struct LuksNode {
    BlockNode node;
    char *key_secret;
    Luks luks;
    Crypt *crypt;               /* NULL: opened without a key, for its header alone */
    BlockChild *header;         /* NULL: in front of the data */
    uint64_t payload;           /* where the data begins in node.file */
} LuksNode;

static int store_read(void *opaque, uint64_t off, void *buf, size_t len) { return child_pread(opaque, off, buf, len); }
static int store_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    return child_pwrite(opaque, off, buf, len, 0);
}
static int store_flush(void *opaque) { return child_flush(opaque); }

static LuksStore store_of(LuksNode *l)
{
    BlockChild *c = l->header ? l->header : l->node.file;

    return (LuksStore){ store_read, store_write, store_flush, c, child_size(c) };
}

static int luks_node_probe(const uint8_t *head, size_t len, const char *filename)
{
    return luks_probe(head, len);
}

static Err *find_payload(LuksNode *l)
{
    uint64_t all = child_size(l->node.file);

    l->payload = l->header ? 0 : (uint64_t)l->luks.payload * CRYPT_SECTOR;
    if (!l->header && !l->luks.payload)
        return err_hint(err(ERR_INVALID, "%s: this is a detached LUKS header, without data", node_path(&l->node)),
                        "Give it as the child 'header', and the data as 'file'.");
    if (l->payload > all)
        return err(ERR_INVALID, "%s: the file ends at %" G_GUINT64_FORMAT ", before the data, which begins at %"
                   G_GUINT64_FORMAT, node_path(&l->node), all, l->payload);
    l->node.size = (all - l->payload + CRYPT_SECTOR - 1) / CRYPT_SECTOR * CRYPT_SECTOR;
    return NULL;
}

static Err *luks_node_open(BlockNode *n)
{
    LuksNode *l = (LuksNode *)n;
    LuksStore st;

    TRY(child_open(n, n->options, "header", false, &l->header));
    st = store_of(l);
    TRY(err_in(luks_load(&st, &l->luks), "%s", node_path(n)));
    TRY(find_payload(l));
    n->encrypted = true;
    n->limits.request_align = CRYPT_SECTOR;
    n->write_flags = REQ_FUA | REQ_UNCHANGED;
    if ((n->open_flags & OPEN_NO_IO) && !l->key_secret)
        return NULL;
    return luks_open(&l->luks, &st, graph_objects(n->graph), l->key_secret, &l->crypt);
}

static void luks_node_close(BlockNode *n)
{
    LuksNode *l = (LuksNode *)n;

    crypt_free(l->crypt);
    l->crypt = NULL;
    child_detach(l->header);
    l->header = NULL;
}

static Err *luks_node_reopen(BlockNode *n, const void *new_opts, bool read_only)
{
    const LuksNode *new = new_opts;
    LuksNode *l = (LuksNode *)n;

    if (g_strcmp0(new->key_secret, l->key_secret))
        return err(ERR_UNSUPPORTED, "key-secret cannot change while the disk is open");
    return NULL;
}

static int luks_node_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    LuksNode *l = (LuksNode *)n;

    return l->crypt ? crypt_read(l->crypt, n->file, l->payload + off, off / CRYPT_SECTOR, q) : -EACCES;
}

static int luks_node_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    LuksNode *l = (LuksNode *)n;

    return l->crypt ? crypt_write(l->crypt, n->file, l->payload + off, off / CRYPT_SECTOR, q, flags) : -EACCES;
}

static Err *luks_node_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    LuksNode *l = (LuksNode *)n;

    if (len > BLOCK_MAX_SIZE - l->payload)
        return err(ERR_INVALID, "%s: %" G_GUINT64_FORMAT " bytes are too many", node_path(n), len);
    TRY(child_resize(n->file, l->payload + len, exact, p));
    n->size = (len + CRYPT_SECTOR - 1) / CRYPT_SECTOR * CRYPT_SECTOR;
    return NULL;
}

static Err *luks_node_info(BlockNode *n, NodeInfo *out)
{
    LuksNode *l = (LuksNode *)n;

    out->encrypted = true;
    out->specific = luks_info(&l->luks, NULL);
    return NULL;
}

/* ---- creation */

static int disk_store_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    return disk_read(opaque, off, &IOV_BUF(buf, len), 0);
}

static int disk_store_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    return disk_write(opaque, off, &IOV_BUF(buf, len), 0);
}

static int disk_store_flush(void *opaque) { return disk_flush(opaque); }

static Err *full_size(const Luks *l, uint64_t size, uint64_t *out)
{
    *out = (uint64_t)l->payload * CRYPT_SECTOR;
    if (size > BLOCK_MAX_SIZE - *out - CRYPT_SECTOR)
        return err(ERR_INVALID, "The requested file size of %" G_GUINT64_FORMAT " bytes is too large", size);
    *out += (size + CRYPT_SECTOR - 1) / CRYPT_SECTOR * CRYPT_SECTOR;
    return NULL;
}

static Err *luks_node_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    LuksStore st = { disk_store_read, disk_store_write, disk_store_flush, NULL, 0 };
    Preallocation none = { PREALLOC_OFF };
    uint64_t size;
    Luks l;
    Disk *d;
    Err *e;

    TRY(luks_plan(opts, &l));
    TRY(full_size(&l, o->size, &size));
    TRY(disk_new(file, PERM_ALL, 0, "create", &d));
    e = disk_resize(d, size, false, none, 0);
    st.opaque = d;
    st.size = size;
    if (!e)
        e = luks_create(&l, opts, graph_objects(g), &st);
    disk_free(d);
    return e;
}

static Err *luks_node_measure(const void *opts, BlockNode *source, uint64_t size, Measure *out)
{
    Luks l;

    TRY(luks_plan(opts, &l));
    TRY(full_size(&l, source ? node_size(source) : size, &out->required));
    out->fully_allocated = out->required;
    return NULL;
}

static Err *luks_node_amend(BlockNode *n, const void *opts, const json_t *given, bool force,
                            void (*progress)(void *, uint64_t, uint64_t), void *opaque)
{
    LuksNode *l = (LuksNode *)n;
    LuksStore st = store_of(l);
    Luks now;
    Err *e;

    TRY(luks_load(&st, &now));
    e = luks_amend(&now, opts, graph_objects(n->graph), l->key_secret, force, &st);
    l->luks = now;
    if (!e && progress)
        progress(opaque, 1, 1);
    return e;
}

static const Field luks_fields[] = {
    PROP(LuksNode, key_secret, .doc = "ID of the secret that provides the keyslot passphrase"),
    { 0 }
};

static const char *const luks_children[] = { "header", NULL };

static const Field luks_create_fields[] = {
    PROP(LuksOptions, key_secret, .doc = "ID of the secret that provides the keyslot passphrase"),
    PROP(LuksOptions, cipher_alg, .doc = "Name of encryption cipher algorithm"),
    PROP(LuksOptions, cipher_mode, .doc = "Name of encryption cipher mode"),
    PROP(LuksOptions, ivgen_alg, .doc = "Name of IV generator algorithm"),
    PROP(LuksOptions, ivgen_hash_alg, .doc = "Name of IV generator hash algorithm"),
    PROP(LuksOptions, hash_alg, .doc = "Name of encryption hash algorithm"),
    PROP(LuksOptions, iter_time, .doc = "Time to spend in PBKDF in milliseconds"),
    { 0 }
};

static const Field luks_amend_fields[] = {
    PROP(LuksOptions, iter_time, .doc = "Time to spend in PBKDF in milliseconds"),
    PROP(LuksOptions, keyslot, .def = "-1", .doc = "Select a single keyslot to modify explicitly"),
    PROP(LuksOptions, new_secret, .doc = "New secret to set in the matching keyslots. Empty string to erase"),
    PROP(LuksOptions, old_secret, .doc = "Select all keyslots that match this password"),
    PROP(LuksOptions, state, .doc = "Select new state of affected keyslots (active/inactive)"),
    { 0 }
};

BLOCK(luks) = {
    .name = "luks", .doc = "LUKS1 container", .kind = DRIVER_FORMAT,
    .size = sizeof(LuksNode), .fields = luks_fields, .own_options = luks_children,
    .strong_options = luks_children,
    .probe = luks_node_probe, .open = luks_node_open, .close = luks_node_close, .reopen = luks_node_reopen,
    .read = luks_node_read, .write = luks_node_write, .resize = luks_node_resize, .info = luks_node_info,
    .create_fields = luks_create_fields, .create_size = sizeof(LuksOptions), .create = luks_node_create,
    .measure = luks_node_measure, .amend_fields = luks_amend_fields, .amend = luks_node_amend,
};
