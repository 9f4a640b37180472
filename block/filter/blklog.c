/* SPDX-License-Identifier: MIT */
/*
 * blklogwrites: a record of every write, zero, discard and flush, in the order
 * in which they ended, in the format of the kernel's dm-log-writes
 * (Documentation/admin-guide/device-mapper/log-writes.rst), so that a crash can
 * be played at any point.
 *
 * Sector 0 is the super block; then for each entry one sector that describes it
 * and its data. All numbers are little endian.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/filter/pass.h"

#define LOG_MAGIC 0x6a736677736872ull
#define LOG_VERSION 1

enum { LOG_FLUSH = 1, LOG_FUA = 2, LOG_DISCARD = 4 };

typedef struct LogSuper { uint64_t magic, version, entries; uint32_t sector_size; } __attribute__((packed)) LogSuper;
typedef struct LogEntry { uint64_t sector, sectors, flags, data_len; } LogEntry;

typedef struct Log {
    BlockNode node;
    bool append;
    uint64_t sector_size, interval;
    BlockChild *log;
    uint64_t next;              /* sector of the next entry */
    uint64_t entries;
    unsigned since_super;
    CoMutex super;
} Log;

static const Field log_fields[] = {
    PROP(Log, append, .as = "log-append", .def = "off", .doc = "go on behind the entries that are there"),
    PROP(Log, sector_size, .as = "log-sector-size", .units = true, .def = "512", .doc = "unit of the record"),
    PROP(Log, interval, .as = "log-super-update-interval", .def = "4096", .doc = "entries between two writes of its super block"),
    {0}
};

/* ---- the super block */

static int write_super(Log *l, bool flush)
{
    g_autofree uint8_t *buf = g_malloc0(l->sector_size);
    const LogSuper s = { LOG_MAGIC, LOG_VERSION, l->entries, (uint32_t)l->sector_size };

    memcpy(buf, &s, sizeof(s));
    l->since_super = 0;
    return child_pwrite(l->log, 0, buf, l->sector_size, flush ? REQ_FUA : 0);
}

/* Finds the end of a record that is there, entry by entry. */
static Err *find_end(Log *l)
{
    LogSuper s;
    int ret = child_pread(l->log, 0, &s, sizeof(s));

    if (ret)
        return err_errno(-ret, "could not read the log's super block");
    if (s.magic != LOG_MAGIC || s.version != LOG_VERSION)
        return err(ERR_INVALID, "Invalid log superblock magic or version");
    if (s.sector_size < 512 || s.sector_size > (8u << 20) || s.sector_size & (s.sector_size - 1))
        return err(ERR_INVALID, "Invalid log sector size %u", s.sector_size);
    l->sector_size = s.sector_size;
    for (l->next = 1; l->entries < s.entries; l->entries++) {
        LogEntry e;
        uint64_t end = child_size(l->log) / l->sector_size;

        ret = l->next < end ? child_pread(l->log, l->next * l->sector_size, &e, sizeof(e)) : -EIO;
        if (ret)
            return err_errno(-ret, "could not read entry %" G_GUINT64_FORMAT " of the log", l->entries);
        uint64_t data = e.flags & LOG_DISCARD ? 0 : e.sectors;
        if (data > end || l->next + 1 + data > end)
            return err(ERR_INVALID, "entry %" G_GUINT64_FORMAT " of the log goes beyond its end", l->entries);
        l->next += 1 + data;
    }
    return NULL;
}

static Err *log_open(BlockNode *n)
{
    Log *l = (Log *)n;

    if (l->sector_size < 512 || l->sector_size > (8u << 20) || l->sector_size & (l->sector_size - 1))
        return err(ERR_INVALID, "Invalid log sector size %" G_GUINT64_FORMAT, l->sector_size);
    if (!l->interval)
        return err(ERR_INVALID, "Invalid log superblock update interval 0");
    TRY(child_open(n, n->options, "log", true, &l->log));
    l->next = 1;
    if (l->append)
        TRY(find_end(l));
    n->limits.request_align = l->sector_size;
    n->zero_flags &= ~(unsigned)REQ_NO_FALLBACK;
    if (n->read_only)
        return NULL;
    int ret = write_super(l, false);
    return ret ? err_errno(-ret, "could not write the log's super block") : NULL;
}

static void log_close(BlockNode *n)
{
    Log *l = (Log *)n;

    if (l->log && !n->read_only && write_super(l, true))
        err_note("blklogwrites: the super block of '%s' could not be written", node_path(l->log->node));
}

/* The record is this filter's own, whatever its parents do. */
static void log_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    *cperm = perm;
    *cshared = shared;
    if (strcmp(role, "log"))
        return;
    *cperm = n->read_only ? PERM_CONSISTENT_READ : PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE;
    *cshared = PERM_CONSISTENT_READ;
}

/* ---- entries */

/* The place of an entry and of `sectors` of data behind it. It is taken before any yield: entries never overlap. */
static uint64_t take_place(Log *l, uint64_t sectors)
{
    uint64_t at = l->next;

    l->next += 1 + sectors;
    l->entries++;
    return at;
}

static int put_entry(Log *l, uint64_t at, const LogEntry *e, const IoVec *data)
{
    g_autofree uint8_t *head = g_malloc0(l->sector_size);
    int ret;

    memcpy(head, e, sizeof(*e));
    ret = child_pwrite(l->log, at * l->sector_size, head, l->sector_size, 0);
    if (!ret && data)
        ret = child_write(l->log, (at + 1) * l->sector_size, data, 0);
    else if (!ret && e->data_len)
        ret = child_zero(l->log, (at + 1) * l->sector_size, e->data_len, 0);
    if (!ret && (++l->since_super >= l->interval || e->flags & LOG_FLUSH)) {
        co_lock(&l->super);
        ret = write_super(l, false);
        co_unlock(&l->super);
    }
    return ret;
}

static int record(Log *l, uint64_t off, uint64_t len, unsigned flags, const IoVec *data)
{
    const LogEntry e = { off / l->sector_size, len / l->sector_size, flags, flags & LOG_DISCARD ? 0 : len };

    return put_entry(l, take_place(l, e.data_len / l->sector_size), &e, data);
}

static int log_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = pass_write(n, off, q, flags);

    return ret ? ret : record((Log *)n, off, q->len, flags & REQ_FUA ? LOG_FUA : 0, q);
}

static int log_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int ret = pass_zero(n, off, len, flags);

    return ret ? ret : record((Log *)n, off, len, flags & REQ_FUA ? LOG_FUA : 0, NULL);
}

static int log_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    int ret = pass_discard(n, off, len);

    return ret ? ret : record((Log *)n, off, len, LOG_DISCARD, NULL);
}

/* It stands before what ended while the host flushed: that need not be stable. */
static int log_flush(BlockNode *n)
{
    Log *l = (Log *)n;
    uint64_t at = take_place(l, 0);
    int ret = child_flush(n->file);
    const LogEntry e = { .flags = ret ? 0 : LOG_FLUSH };        /* failed: an entry of nothing */
    int put = put_entry(l, at, &e, NULL);

    return ret ? ret : put;
}

static const char *const own[] = { "log", NULL };

BLOCK(blklogwrites) = {
    .name = "blklogwrites", .doc = "records all writes", .kind = DRIVER_FILTER, .size = sizeof(Log), .fields = log_fields,
    .own_options = own, .open = log_open, .close = log_close, .child_perm = log_child_perm,
    .read = pass_read, .write = log_write, .zero = log_zero, .discard = log_discard, .flush = log_flush,
    .size_now = pass_size_now, .grows = true,
};
