/* SPDX-License-Identifier: MIT */
/*
 * What disks do for a snapshot of the machine.
 *
 * A disk whose format has internal snapshots gets one; of any other that is in a
 * local file its bytes are copied beside it, holes left out: FILE.snapshots/NAME.
 * What a flash holds is in the machine's memory (DiskPort.in_memory). The first disk with
 * internal snapshots holds the machine's state, or else FILE.snapshots/NAME.state.
 *
 * What touches a node runs in a coroutine of the thread where the disk is at home, the machine standing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "system/snapshot-priv.h"
#include "util/file.h"
#include "util/iov.h"

enum { COPY_BYTES = 1 << 20 };

/* A call that is made where a disk is at home. */
typedef struct Do { Snap *s; SnapDisk *d; Err *(*fn)(Snap *, SnapDisk *, void *); void *arg; Err *e; } Do;

static void do_it(void *opaque)
{
    Do *d = opaque;

    d->e = d->fn(d->s, d->d, d->arg);
}

static Err *there(Snap *s, SnapDisk *disk, Err *(*fn)(Snap *, SnapDisk *, void *), void *arg)
{
    Do d = { s, disk, fn, arg, NULL };

    iothread_run(disk->home, do_it, &d);
    return d.e;
}

static SnapDisk *disk_at(const Snap *s, guint i)
{
    return &g_array_index(s->disks, SnapDisk, i);
}

static guint disks(const Snap *s)
{
    return s->disks ? s->disks->len : 0;
}

/* One disk after the other, each at home; ends with the first error. */
static Err *each(Snap *s, Err *(*fn)(Snap *, SnapDisk *, void *), void *arg)
{
    for (guint i = 0; i < disks(s); i++)
        TRY(err_in(there(s, disk_at(s, i), fn, arg), "disk '%s'", node_name(disk_at(s, i)->node)));
    return NULL;
}

/* ---- which disks */

static bool known(const Snap *s, const BlockNode *n)
{
    for (guint i = 0; i < disks(s); i++) {
        if (disk_at(s, i)->node == n)
            return true;
    }
    return false;
}

static Err *copies_folder(BlockNode *n, char **out)
{
    BlockNode *storage = node_storage(n);
    const char *file = node_filename(storage ? storage : n);
    struct stat st;

    if (file && stat(file, &st) == 0 && S_ISREG(st.st_mode)) {
        *out = g_strconcat(file, ".snapshots", NULL);
        return NULL;
    }
    return err_hint(err(ERR_UNSUPPORTED, "disk '%s' (%s) has no internal snapshots, and is in no local file that a copy could be beside",
                        node_name(n), node_format(n)), "A qcow2 image above it has them: lyre-img create -f qcow2 -b ..");
}

/* A backing file that is longer than the disk would show through. */
static bool holds(BlockNode *n)
{
    NodeInfo info;
    Err *e = node_info(n, &info);
    bool yes = !e && info.vm_state_offset && (!node_backing(n) || node_size(node_backing(n)) <= info.vm_state_offset);

    if (!e)
        json_decref(info.specific);
    err_free(e);
    return yes;
}

static Err *add_node(SnapDisk *d, BlockNode *n)
{
    Snapshot *list;
    unsigned count;
    Err *no = node_snapshots(n, &list, &count);
    d->internal = !no;
    if (!no) {
        snapshots_free(list, count);
        d->holds = holds(n);
    }
    err_free(no);
    if (!d->internal && !d->disk)
        return err_hint(err(ERR_UNSUPPORTED, "Device '%s' is writable but does not support snapshots", node_name(n)),
                        "One without internal snapshots is copied if a device has it.");
    if (!d->internal)
        TRY(copies_folder(n, &d->folder));
    d->node = node_ref(n);
    return NULL;
}

static Err *add_disk(Snap *s, SnapDisk *d, void *arg)
{
    DiskPort *p = arg;
    BlockNode *n = disk_node(p->disk) ? node_skip_filters(disk_node(p->disk)) : NULL;

    return n && !known(s, n) ? add_node(d, n) : NULL;
}

static void set_holder(Snap *s, const SnapDisk *d)
{
    s->holder = d->node;
    s->holder_home = d->home;
    s->holder_graph = d->graph;
}

static Err *find_disks(Snap *s)
{
    const GPtrArray *ports = s->vm->disks->ports;

    for (guint i = 0; i < ports->len; i++) {
        DiskPort *p = ports->pdata[i];
        SnapDisk d = { .home = p->home, .graph = disks_graph_of(s->vm->disks, p->home), .disk = p->disk };

        if (!p->disk || p->read_only || p->in_memory)
            continue;
        TRY(there(s, &d, add_disk, p));
        if (d.node)
            g_array_append_val(s->disks, d);
    }
    for (guint i = 0; i < disks(s) && !s->holder && !s->path; i++) {
        if (disk_at(s, i)->holds)
            set_holder(s, disk_at(s, i));
    }
    return NULL;
}

/* ---- disks by the names of their nodes */

typedef struct Named { Snap *s; SnapDisk d; const char *name; Err *e; } Named;

static void look_for(void *opaque)
{
    Named *f = opaque;
    BlockNode *n = graph_find(f->d.graph, f->name);
    const GPtrArray *ports = f->s->vm->disks->ports;

    if (!n || known(f->s, node_skip_filters(n)))
        return;
    n = node_skip_filters(n);
    for (guint i = 0; i < ports->len; i++) {
        const DiskPort *p = ports->pdata[i];

        if (p->home == f->d.home && p->disk && disk_node(p->disk) && node_skip_filters(disk_node(p->disk)) == n)
            f->d.disk = p->disk;
    }
    f->e = node_read_only(n) ? err(ERR_INVALID, "Device '%s' is read-only", f->name) : add_node(&f->d, n);
}

static Err *add_named(Snap *s, const char *name)
{
    Disks *all = s->vm->disks;
    Named f = { .s = s, .name = name };

    for (unsigned i = 0; !f.d.node && !f.e && (f.d.home = disks_nth_thread(all, i, &f.d.graph)); i++)
        iothread_run(f.d.home, look_for, &f);
    TRY(f.e);
    if (!f.d.node)
        return err(ERR_NOT_FOUND, "No block device node '%s'", name);
    g_array_append_val(s->disks, f.d);
    return NULL;
}

static Err *find_named(Snap *s)
{
    const char *vmstate = s->place->vmstate;
    bool there = false;

    for (const char *const *name = s->place->devices; *name; name++) {
        bool twice = false;

        for (const char *const *o = s->place->devices; o < name; o++)
            twice |= !strcmp(*o, *name);
        if (twice)
            continue;
        TRY(add_named(s, *name));
        const SnapDisk *d = disk_at(s, disks(s) - 1);
        if (vmstate && !strcmp(*name, vmstate)) {
            there = true;
            if (d->holds)
                set_holder(s, d);
            else if (d->folder)
                s->path = g_strconcat(d->folder, "/", s->tag, ".state", NULL);
            else
                return err(ERR_UNSUPPORTED, "vmstate block device '%s' does not support snapshots", vmstate);
        }
    }
    if (vmstate && !there)
        return err(ERR_NOT_FOUND, "vmstate block device '%s' does not exist", vmstate);
    if (!vmstate && disks(s) && disk_at(s, 0)->folder)
        s->path = g_strconcat(disk_at(s, 0)->folder, "/", s->tag, ".state", NULL);
    return NULL;
}

Err *snap_find_disks(Snap *s)
{
    s->disks = g_array_new(false, true, sizeof(SnapDisk));
    if (s->place)
        return find_named(s);
    if (s->vm->disks)
        TRY(find_disks(s));
    if (s->path || s->holder)
        return NULL;
    if (!disks(s) || !disk_at(s, 0)->folder)
        return err_hint(err(ERR_UNSUPPORTED, "no disk could hold the machine's state"),
                        "A name with a slash in it, ./NAME.lyre, is a file of its own.");
    s->path = g_strconcat(disk_at(s, 0)->folder, "/", s->tag ? s->tag : "", ".state", NULL);
    return NULL;
}

Err *snap_make_folders(Snap *s)
{
    for (guint i = 0; i < disks(s); i++) {
        const char *folder = disk_at(s, i)->folder;

        if (folder && mkdir(folder, 0777) < 0 && errno != EEXIST)
            return err_path(errno, folder, "cannot make the folder '%s'", folder);
    }
    return NULL;
}

static Err *forget_disk(Snap *s, SnapDisk *d, void *arg)
{
    node_unref(d->node);
    g_free(d->folder);
    return NULL;
}

void snap_forget_disks(Snap *s)
{
    if (!s->disks)
        return;
    for (guint i = 0; i < disks(s); i++)
        err_free(there(s, disk_at(s, i), forget_disk, NULL));
    g_array_free(s->disks, true);
    s->disks = NULL;
}

/* ---- copies beside the image */

static char *copy_path(const Snap *s, const SnapDisk *d, const char *tag)
{
    return g_strconcat(d->folder, "/", tag ? tag : s->tag, NULL);
}

/* The disk's bytes to the file, but for what reads as zeros. */
static int copy_out(const SnapDisk *d, int fd, uint8_t *buf)
{
    uint64_t size = disk_size(d->disk), off = 0;
    int r = ftruncate(fd, size) < 0 ? -errno : 0;

    while (off < size && !r) {
        struct iovec store;
        Extent x;

        r = node_extent_above(d->node, NULL, true, off, size - off, &x);
        if (r || x.flags & EXTENT_ZERO) {
            off += r ? 0 : x.len;
            continue;
        }
        size_t n = MIN(x.len, (uint64_t)COPY_BYTES);
        const IoVec q = iov_buf(&store, buf, n);
        r = disk_read(d->disk, off, &q, 0);
        if (!r)
            r = file_pwrite(fd, off, buf, n);
        off += n;
    }
    return r ? r : fdatasync(fd) < 0 ? -errno : 0;
}

static Err *save_copy(Snap *s, const SnapDisk *d)
{
    g_autofree char *path = copy_path(s, d, NULL), *temp = g_strconcat(path, ".part", NULL);
    g_autofree uint8_t *buf = g_malloc(COPY_BYTES);

    int fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_path(errno, temp, "cannot create '%s'", temp);
    int r = copy_out(d, fd, buf);
    close(fd);
    if (!r && rename(temp, path) < 0)
        r = -errno;
    if (r)
        unlink(temp);
    return r ? err_errno(-r, "cannot copy the disk to '%s'", path) : NULL;
}

static int copy_data(const SnapDisk *d, int fd, uint8_t *buf, uint64_t off, uint64_t end)
{
    int r = 0;

    while (off < end && !r) {
        struct iovec store;
        size_t n = MIN(end - off, (uint64_t)COPY_BYTES);
        const IoVec q = iov_buf(&store, buf, n);

        r = file_pread(fd, off, buf, n);
        if (!r)
            r = disk_write(d->disk, off, &q, 0);
        off += n;
    }
    return r;
}

/* The file's bytes back to the disk; holes become zeros. */
static int copy_in(const SnapDisk *d, int fd, uint8_t *buf)
{
    uint64_t size = disk_size(d->disk), off = 0;
    int r = 0;

    while (off < size && !r) {
        off_t data = lseek(fd, off, SEEK_DATA);
        uint64_t to = data < 0 ? size : MIN((uint64_t)data, size);

        if (data < 0 && errno != ENXIO)
            return -errno;
        for (; off < to && !r; off += MIN(to - off, (uint64_t)1 << 30))
            r = disk_zero(d->disk, off, MIN(to - off, (uint64_t)1 << 30), REQ_UNMAP);
        off = to;
        if (r || off >= size)
            break;
        off_t hole = lseek(fd, off, SEEK_HOLE);
        to = hole < 0 ? size : MIN((uint64_t)hole, size);
        r = copy_data(d, fd, buf, off, to);
        off = to;
    }
    return r ? r : disk_flush(d->disk);
}

static Err *load_copy(Snap *s, const SnapDisk *d)
{
    g_autofree char *path = copy_path(s, d, NULL);
    g_autofree uint8_t *buf = g_malloc(COPY_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_path(errno, path, "cannot open '%s'", path);
    int r = copy_in(d, fd, buf);
    close(fd);
    return r ? err_errno(-r, "cannot copy '%s' back to its disk", path) : NULL;
}

/* A disk that has become larger or smaller since cannot be filled from it. */
static Err *check_copy(const Snap *s, const SnapDisk *d, const char *tag)
{
    g_autofree char *path = copy_path(s, d, tag);
    struct stat st;

    if (stat(path, &st) < 0)
        return err(ERR_NOT_FOUND, "disk '%s' has none of that name: there is no '%s'", node_name(d->node), path);
    if ((uint64_t)st.st_size != disk_size(d->disk))
        return err(ERR_INVALID, "disk '%s' has another size than '%s'", node_name(d->node), path);
    return NULL;
}

/* ---- one disk */

static bool find_internal(BlockNode *n, const char *tag, Snapshot *out)
{
    Snapshot *list = NULL;
    unsigned count = 0;
    bool found = false;

    err_free(node_snapshots(n, &list, &count));
    for (unsigned i = 0; i < count && !found; i++) {
        found = !g_strcmp0(list[i].name, tag);
        if (found && out)
            *out = list[i];             /* its strings are gone soon */
    }
    snapshots_free(list, count);
    return found;
}

static bool has(const Snap *s, const SnapDisk *d, const char *tag)
{
    if (d->internal)
        return find_internal(d->node, tag, NULL);
    Err *e = check_copy(s, d, tag);
    err_free(e);
    return !e;
}

static Err *save_internal(Snap *s, const SnapDisk *d, uint64_t bytes)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    Snapshot sn = {
        .name = s->tag, .vm_state_size = d->node == s->holder ? bytes : 0, .date_sec = now.tv_sec, .date_nsec = now.tv_nsec,
        .vm_clock_nsec = clock_now(s->vm, CLOCK_GUEST), .icount = UINT64_MAX,
    };
    Err *e = node_snapshot_create(d->node, &sn);
    g_free(sn.id);
    return e;
}

static Err *save_disk(Snap *s, SnapDisk *d, void *bytes)
{
    return d->internal ? save_internal(s, d, *(uint64_t *)bytes) : save_copy(s, d);
}

Err *snap_save_disks(Snap *s, uint64_t state_bytes)
{
    return each(s, save_disk, &state_bytes);
}

static Err *check_disk(Snap *s, SnapDisk *d, void *arg)
{
    Snapshot sn;

    if (!d->internal)
        return check_copy(s, d, NULL);
    if (!find_internal(d->node, s->tag, &sn))
        return err(ERR_NOT_FOUND, "it has none of that name");
    if (d->node == s->holder && !sn.vm_state_size)
        return err_hint(err(ERR_INVALID, "it has one of that name, but only of the disk"), "lyre-img snapshot -a goes back to it.");
    return NULL;
}

Err *snap_check_disks(Snap *s)
{
    return each(s, check_disk, NULL);
}

static Err *load_disk(Snap *s, SnapDisk *d, void *arg)
{
    return d->internal ? node_snapshot_apply(d->node, s->tag) : load_copy(s, d);
}

Err *snap_load_disks(Snap *s)
{
    return each(s, load_disk, NULL);
}

static Err *delete_disk(Snap *s, SnapDisk *d, void *arg)
{
    if (d->internal)
        return find_internal(d->node, s->tag, NULL) ? node_snapshot_delete(d->node, s->tag) : NULL;
    g_autofree char *path = copy_path(s, d, NULL);
    unlink(path);
    rmdir(d->folder);           /* if it was the last */
    return NULL;
}

Err *snap_delete_disks(Snap *s)
{
    return each(s, delete_disk, NULL);
}

typedef struct Has { const char *tag; unsigned n; } Has;

static Err *count_disk(Snap *s, SnapDisk *d, void *arg)
{
    Has *h = arg;

    h->n += has(s, d, h->tag);
    return NULL;
}

unsigned snap_count_disks(Snap *s)
{
    Has h = { s->tag, 0 };

    err_free(each(s, count_disk, &h));
    return h.n;
}

/* ---- list */

static bool all_have(Snap *s, const char *tag)
{
    Has h = { tag, 0 };

    err_free(each(s, count_disk, &h));
    return h.n == disks(s);
}

typedef struct List { Snapshot *list; unsigned n; } List;

static Err *list_holder(Snap *s, SnapDisk *d, void *arg)
{
    List *l = arg;

    return d->node == s->holder ? node_snapshots(d->node, &l->list, &l->n) : NULL;
}

static void list_internal(Snap *s, GArray *out)
{
    List l = { 0 };

    err_free(each(s, list_holder, &l));
    for (unsigned i = 0; i < l.n; i++) {
        const Snapshot *sn = &l.list[i];

        if (!sn->vm_state_size || !all_have(s, sn->name))
            continue;
        const SnapshotInfo info = { g_strdup(sn->id), g_strdup(sn->name), sn->vm_state_size, sn->date_sec, sn->vm_clock_nsec };
        g_array_append_val(out, info);
    }
    snapshots_free(l.list, l.n);
}

static void list_file(Snap *s, const char *name, GArray *out)
{
    g_autofree char *tag = g_strndup(name, strlen(name) - strlen(".state")), *path = g_strconcat(disk_at(s, 0)->folder, "/", name, NULL);
    int fd = all_have(s, tag) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;

    if (fd < 0)
        return;
    const StateStore store = state_file_store(&fd);
    SnapshotInfo info = { .id = g_strdup(""), .name = g_strdup(tag) };
    Err *e = state_store_clock(&store, &info.clock_ns);
    if (!e && fstat(fd, &st) == 0) {
        info.state_bytes = st.st_blocks * UINT64_C(512);
        info.date = st.st_mtime;
        g_array_append_val(out, info);
    } else {
        g_free(info.id);
        g_free(info.name);
    }
    err_free(e);
    close(fd);
}

void snap_list(Snap *s, GArray *out)
{
    const char *name;
    GDir *dir = NULL;

    if (s->holder)
        list_internal(s, out);
    else if (disks(s))
        dir = g_dir_open(disk_at(s, 0)->folder, 0, NULL);
    while (dir && (name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_suffix(name, ".state"))
            list_file(s, name, out);
    }
    if (dir)
        g_dir_close(dir);
}

/* ---- the machine's state in an image */

typedef struct Image { Snap *s; BlockNode *node; uint64_t off; void *data; size_t len; bool write; int ret; } Image;

static void image_io(void *opaque)
{
    Image *i = opaque;
    struct iovec store;
    const IoVec q = iov_buf(&store, i->data, i->len);

    i->ret = i->write ? node_vmstate_write(i->node, i->off, &q) : node_vmstate_read(i->node, i->off, &q);
}

static int image_write(void *opaque, uint64_t off, const void *data, size_t len)
{
    Snap *s = opaque;
    Image i = { s, s->holder, off, (void *)data, len, true, 0 };

    iothread_run(s->holder_home, image_io, &i);
    return i.ret;
}

static int image_read(void *opaque, uint64_t off, void *data, size_t len)
{
    Snap *s = opaque;
    Image i = { s, s->holder, off, data, len, false, 0 };

    iothread_run(s->holder_home, image_io, &i);
    return i.ret;
}

/* ---- where it is in the host's file */

typedef struct Where { Snap *s; uint64_t bytes; GArray *runs; int fd; } Where;

static void add_run(GArray *runs, const StateRun *r)
{
    StateRun *last = runs->len ? &g_array_index(runs, StateRun, runs->len - 1) : NULL;

    if (last && last->off + last->len == r->off && last->host + last->len == r->host)
        last->len += r->len;
    else
        g_array_append_val(runs, *r);
}

/* 0, or why it cannot be mapped: what is packed or enciphered, or lies across pages. */
static int find_runs(BlockNode *n, uint64_t bytes, GArray *runs, BlockNode **host)
{
    uint64_t end = (bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    Extent x;

    for (uint64_t off = 0; off < end; off += x.len) {
        int r = node_vmstate_extent(n, off, end - off, &x);

        if (r)
            return r;
        if (x.flags & EXTENT_ZERO || !(x.flags & EXTENT_ALLOCATED))
            continue;
        if (!(x.flags & EXTENT_OFFSET) || (off | x.len | x.host) % PAGE_SIZE || (*host && *host != x.host_node))
            return -ENOTSUP;
        *host = x.host_node;
        add_run(runs, &(StateRun){ off, x.len, x.host });
        if (runs->len > STATE_RUNS_MAX)
            return -E2BIG;
    }
    return *host ? 0 : -ENOTSUP;
}

/* A page behind the file's end would be a fault. */
static bool all_there(int fd, const GArray *runs)
{
    struct stat st;
    bool good = fstat(fd, &st) == 0;

    for (guint i = 0; good && i < runs->len; i++) {
        const StateRun *r = &g_array_index(runs, StateRun, i);

        good = r->host + r->len <= (((uint64_t)st.st_size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1));
    }
    return good;
}

static void where(void *opaque)
{
    Where *w = opaque;
    BlockNode *host = NULL;
    int r = find_runs(w->s->holder, w->bytes, w->runs, &host);

    w->fd = r ? r : node_host_fd(host);
    if (w->fd >= 0 && !all_there(w->fd, w->runs)) {
        close(w->fd);
        w->fd = -EIO;
    }
}

static int image_map(void *opaque, uint64_t bytes, GArray *runs)
{
    Snap *s = opaque;
    Where w = { s, bytes, runs, -1 };

    iothread_run(s->holder_home, where, &w);
    return w.fd;
}

typedef struct Lend { BlockNode *node; void (*back)(void *); void *opaque; } Lend;

static void lend(void *opaque)
{
    const Lend *l = opaque;

    node_lend(l->node, l->back, l->opaque);
}

static void image_lend(void *opaque, void (*back)(void *), void *back_opaque)
{
    Snap *s = opaque;
    Lend l = { s->holder, back, back_opaque };

    iothread_run(s->holder_home, lend, &l);
}

StateStore snap_image_store(Snap *s)
{
    return (StateStore){ .write = image_write, .read = image_read, .opaque = s, .fd = -1, .map = image_map, .lend = image_lend };
}

static Err *clear_image(Snap *s, SnapDisk *d, void *arg)
{
    int r = d->node == s->holder ? node_vmstate_clear(d->node) : 0;

    return r ? err_errno(-r, "cannot give the space of an old state back") : NULL;
}

Err *snap_clear_image(Snap *s)
{
    return each(s, clear_image, NULL);
}

static void drop_names(json_t *o)
{
    const char *key;
    json_t *v;

    json_object_del(o, "node-name");
    json_object_foreach(o, key, v)
        if (json_is_object(v))
            drop_names(v);
}

/* The same image once more, read-only, as that snapshot. */
static Err *open_look(Snap *s, SnapDisk *d, void *arg)
{
    BlockNode **out = arg;
    json_t *options = node_options(d->node);

    drop_names(options);
    json_object_del(options, "backing");
    json_object_set_new(options, "read-only", json_true());
    Err *e = node_open(d->graph, options, OPEN_FORCE_SHARE | OPEN_NO_BACKING, out);
    json_decref(options);
    if (!e && (e = node_snapshot_load(*out, s->tag)) != NULL) {
        node_unref(*out);
        *out = NULL;
    }
    return e;
}

static Err *close_look(Snap *s, SnapDisk *d, void *arg)
{
    node_unref(arg);
    return NULL;
}

static Err *flush(Snap *s, SnapDisk *d, void *arg)
{
    if (d->disk)
        disk_flush(d->disk);
    return NULL;
}

Err *snap_look(Snap *s, GBytes **blob)
{
    BlockNode *node = NULL, *live = s->holder;
    SnapDisk *d = disk_at(s, 0);

    for (guint i = 0; disk_at(s, i)->node != live; i++)
        d = disk_at(s, i + 1);
    err_free(there(s, d, flush, NULL));
    Err *e = there(s, d, open_look, &node);
    if (e) {
        err_free(e);
        return NULL;
    }
    s->holder = node;
    const StateStore store = snap_image_store(s);
    e = state_store_check(s->vm, &store, blob);
    s->holder = live;
    err_free(there(s, d, close_look, node));
    return e;
}
