/* SPDX-License-Identifier: MIT */
/*
 * What the simpler image formats share; see format.h.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <sys/random.h>

#include "block/format.h"

/* ---- tables */

Err *table_load(Table *t, BlockChild *file, uint64_t off, uint64_t bytes, const char *what)
{
    uint64_t end, size = child_size(file);
    int ret;

    memset(t, 0, sizeof(*t));
    if (bytes > TABLE_MAX)
        return err(ERR_UNSUPPORTED, "%s has %" PRIu64 " bytes; at most %" PRIu64 " are supported",
                   what, bytes, (uint64_t)TABLE_MAX);
    if (__builtin_add_overflow(off, bytes, &end) || end > size)
        return err(ERR_INVALID, "%s at offset %" PRIu64 " has %" PRIu64 " bytes, but the file ends at %" PRIu64,
                   what, off, bytes, size);
    t->file = file;
    t->off = off;
    t->bytes = bytes;
    t->mem = try_alloc(bytes ? bytes : 1, 1);
    t->dirty = try_alloc(bytes / TABLE_PAGE + 1, 1);
    if (!t->mem || !t->dirty)
        return err_errno(ENOMEM, "%s of %" PRIu64 " bytes", what, bytes);
    ret = bytes ? child_pread(file, off, t->mem, bytes) : 0;
    if (ret < 0)
        return err_errno(-ret, "cannot read %s at offset %" PRIu64, what, off);
    return NULL;
}

void table_free(Table *t)
{
    free(t->mem);
    free(t->dirty);
    t->mem = t->dirty = NULL;
    t->bytes = 0;
    t->any = false;
}

void table_mark(Table *t, size_t off, size_t len)
{
    memset(&t->dirty[off / TABLE_PAGE], 1, (off + len - 1) / TABLE_PAGE - off / TABLE_PAGE + 1);
    t->any = true;
}

/* Copies of dirty pages, as runs: entries that appear meanwhile wait for the next time. */
static GArray *table_snapshot(Table *t)
{
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(TableRun));
    size_t pages = (t->bytes + TABLE_PAGE - 1) / TABLE_PAGE, left = t->max_pages ? t->max_pages : pages;

    if (!t->any)
        return runs;
    t->any = false;
    for (size_t i = 0, j; i < pages && !t->any; i = j) {
        for (j = i; j < pages && t->dirty[j] && left; j++, left--)
            t->dirty[j] = 0;
        if (j > i) {
            TableRun r = { i * TABLE_PAGE, MIN(j * TABLE_PAGE, t->bytes) - i * TABLE_PAGE, NULL };

            r.copy = g_memdup2(t->mem + r.off, r.len);
            g_array_append_val(runs, r);
        } else if (t->dirty[j++]) {
            t->any = true;      /* max_pages were taken */
        }
    }
    return runs;
}

static int write_runs(Table *t, const TableRun *runs, unsigned n)
{
    int ret = n ? child_flush(t->file) : 0;

    if (!ret && n && t->before)
        ret = t->before(t, runs, n);
    for (unsigned i = 0; i < n && !ret; i++)
        ret = child_pwrite(t->file, t->off + runs[i].off, runs[i].copy, runs[i].len, 0);
    return ret;
}

int table_sync(Table *t)
{
    int ret;

    co_lock(&t->syncing);       /* another sync may be under way: its end counts for us, too */
    do {
        GArray *runs = table_snapshot(t);

        ret = write_runs(t, (TableRun *)runs->data, runs->len);
        for (unsigned i = 0; i < runs->len; i++) {
            TableRun *r = &g_array_index(runs, TableRun, i);

            if (ret < 0)        /* not in the file: again with the next flush */
                table_mark(t, r->off, r->len);
            g_free(r->copy);
        }
        g_array_free(runs, TRUE);
    } while (!ret && t->any && t->max_pages);
    co_unlock(&t->syncing);
    return ret;
}

/* ---- one at a time for each place */

void busy_begin(BusySet *set, Busy *b, uint64_t key)
{
    for (Busy *o = set->first; o;)
        if (o->key == key) {
            co_queue_wait(&o->waiting);
            o = set->first;
        } else {
            o = o->next;
        }
    *b = (Busy){ .key = key, .next = set->first };
    set->first = b;
}

void busy_end(BusySet *set, Busy *b)
{
    Busy **p = &set->first;

    while (*p != b)
        p = &(*p)->next;
    *p = b->next;
    co_queue_wake_all(&b->waiting);
}

/* ---- data */

Err *backing_name_read(BlockNode *n, uint64_t off, uint32_t len)
{
    n->backing_name = g_malloc0(len + 1);

    int ret = len ? child_pread(n->file, off, n->backing_name, len) : 0;

    return ret < 0 ? err_errno(-ret, "cannot read the name of the backing file at offset %" PRIu64, off) : NULL;
}

int backing_read(BlockNode *n, uint64_t off, const IoVec *q)
{
    uint64_t size = n->backing ? child_size(n->backing) : 0;
    size_t have = off >= size ? 0 : MIN(q->len, size - off);
    int ret = 0;

    if (have) {
        IoVec part = iov_slice(q, 0, have);
        ret = child_read(n->backing, off, &part, 0);
    }
    if (have < q->len)
        iov_fill(q, have, 0, q->len - have);
    return ret;
}

/* Is what begins where `out` ends more of the same? */
static bool goes_on(const Extent *out, const Extent *next)
{
    return out->flags == next->flags && (!(out->flags & EXTENT_OFFSET) || out->host + out->len == next->host);
}

int extent_join(BlockNode *n, uint64_t off, uint64_t len, Extent *out,
                int (*one)(BlockNode *n, uint64_t off, uint64_t len, Extent *out))
{
    int ret = one(n, off, len, out);

    while (!ret && out->len < len) {
        Extent next;

        if (one(n, off + out->len, len - out->len, &next) || !goes_on(out, &next))
            break;
        out->len += next.len;
    }
    return ret;
}

void body_init(Body *s, BlockChild *file)
{
    *s = (Body){ .file = file, .end = child_size(file) };
}

int body_read(Body *s, uint64_t off, const IoVec *q)
{
    if (off >= s->end)
        return -EIO;
    if (q->len <= s->end - off)
        return child_read(s->file, off, q, 0);
    size_t have = s->end - off;
    IoVec part = iov_slice(q, 0, have);
    iov_fill(q, have, 0, q->len - have);
    return child_read(s->file, off, &part, 0);
}

/* The file gets longer by one request at a time: another one's new length would cut off what this one adds. */
int body_write(Body *s, uint64_t off, const IoVec *q, unsigned flags)
{
    bool grows = off + q->len > s->end;
    int ret;

    if (grows)
        co_lock(&s->growing);
    ret = child_write(s->file, off, q, flags);
    if (!ret)
        s->end = MAX(s->end, off + q->len);
    if (grows)
        co_unlock(&s->growing);
    return ret;
}

int body_fresh(Body *s, uint64_t off, uint64_t len)
{
    uint64_t stop = off + len;
    int ret = 0;

    co_lock(&s->growing);
    if (off < s->end)           /* left over from what a crash undid */
        ret = child_zero(s->file, off, MIN(stop, s->end) - off, REQ_UNMAP);
    if (!ret && stop > s->end) {
        Err *e = child_resize(s->file, stop, false, (Preallocation){ PREALLOC_OFF });

        if (e)
            ret = -ENOSPC;
        else
            s->end = MAX(s->end, stop);
        err_free(e);
    }
    co_unlock(&s->growing);
    return ret;
}

/* ---- tables of images that are only read */

enum { PAGES_MAX = 1024 };

static int page_load(PageCache *c, BlockChild *file, gpointer number, uint8_t **out)
{
    g_autofree uint8_t *p = g_malloc(TABLE_PAGE);
    int ret = child_pread_padded(file, GPOINTER_TO_SIZE(number) * TABLE_PAGE, p, TABLE_PAGE);

    if (ret < 0)
        return ret;
    if (!c->pages)
        c->pages = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (!g_hash_table_contains(c->pages, number)) {     /* another request was first */
        if (g_hash_table_size(c->pages) >= PAGES_MAX)
            g_hash_table_remove(c->pages, g_queue_pop_head(&c->order));
        g_queue_push_tail(&c->order, number);
        g_hash_table_insert(c->pages, number, g_steal_pointer(&p));
    }
    *out = g_hash_table_lookup(c->pages, number);
    return 0;
}

int page_read(PageCache *c, BlockChild *file, uint64_t off, void *out, size_t len)
{
    gpointer number = GSIZE_TO_POINTER(off / TABLE_PAGE);
    uint8_t *p = c->pages ? g_hash_table_lookup(c->pages, number) : NULL;

    if (!p) {
        uint64_t size = child_size(file);
        int ret = off > size || len > size - off ? -EIO : page_load(c, file, number, &p);

        if (ret < 0)
            return ret;
    }
    memcpy(out, p + off % TABLE_PAGE, len);
    return 0;
}

void page_cache_free(PageCache *c)
{
    if (c->pages)
        g_hash_table_destroy(c->pages);
    g_queue_clear(&c->order);
    c->pages = NULL;
}

/* ---- creating */

Err *maker_open(BlockNode *file, uint64_t size, Disk **out)
{
    TRY(disk_new(file, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL, "create", out));
    disk_set_growing(*out, true);
    Err *e = disk_resize(*out, size, false, (Preallocation){ PREALLOC_OFF }, 0);
    if (e) {
        disk_free(*out);
        *out = NULL;
    }
    return e;
}

Err *maker_put(Disk *d, uint64_t off, const void *buf, size_t len)
{
    int ret = disk_write(d, off, &IOV_BUF(buf, len), 0);

    return ret < 0 ? err_errno(-ret, "cannot write %zu bytes at offset %" PRIu64, len, off) : NULL;
}

Err *maker_close(Disk *d, Err *e)
{
    int ret = e ? 0 : disk_flush(d);

    disk_free(d);
    return ret < 0 ? err_errno(-ret, "cannot flush the new image") : e;
}

void random_bytes(void *out, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((char *)out + done, len - done, 0);

        if (n > 0)
            done += n;
    }
}
