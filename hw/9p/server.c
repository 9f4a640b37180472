/* SPDX-License-Identifier: MIT */
/*
 * The server of 9P2000.L: versions, dispatch, replies, flushing; the protocol is
 * that of Plan 9's manual, section 5, and of Linux's
 * Documentation/filesystems/9p and diod's protocol.md for the .L messages.
 * Not there: 9P2000.u, authentication (Tauth), locks among several guests: a
 * lock holds within the guest, whose kernel keeps it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"
#include "util/path.h"

enum { T_RLERROR = 7, T_VERSION = 100, T_FLUSH = 108, NO_FID = -1, IN_FLIGHT_MOST = 1024 };

/* Flags of what a message is allowed to do where the folder is read-only, and where its fid is. */
enum { WRITES = 1 };
static const struct Row { P9Handler *fn; uint8_t flags; } rows[256] = {
    [8] = { p9_t_statfs }, [12] = { p9_t_lopen }, [14] = { p9_t_lcreate, WRITES }, [16] = { p9_t_symlink, WRITES },
    [18] = { p9_t_mknod, WRITES }, [20] = { p9_t_rename, WRITES }, [22] = { p9_t_readlink }, [24] = { p9_t_getattr },
    [26] = { p9_t_setattr, WRITES }, [30] = { p9_t_xattrwalk }, [32] = { p9_t_xattrcreate, WRITES }, [40] = { p9_t_readdir },
    [50] = { p9_t_fsync }, [52] = { p9_t_lock }, [54] = { p9_t_getlock }, [70] = { p9_t_link, WRITES }, [72] = { p9_t_mkdir, WRITES },
    [74] = { p9_t_renameat, WRITES }, [76] = { p9_t_unlinkat, WRITES }, [104] = { p9_t_attach }, [110] = { p9_t_walk },
    [116] = { p9_t_read }, [118] = { p9_t_write, WRITES }, [120] = { p9_t_clunk }, [122] = { p9_t_remove },
};

/* ---- replies */

static void put_header(uint8_t *p, uint32_t len, uint8_t type, uint16_t tag)
{
    P9Out m = { .p = p, .max = P9_HEADER };

    p9_out_u32(&m, len);
    p9_out_u8(&m, type);
    p9_out_u16(&m, tag);
}

/* The reply's bytes behind the header are in `body`, or (NULL) in the guest's memory already. */
static void send_reply(P9Call *c, uint8_t type, const uint8_t *body, uint32_t len)
{
    uint8_t head[P9_HEADER];

    put_header(head, P9_HEADER + len, type, c->tag);
    iov_write(&c->in, 0, head, P9_HEADER);
    if (body)
        iov_write(&c->in, P9_HEADER, body, len);
    c->done(c, P9_HEADER + len);
}

/* There is room for an error: p9_call has seen to it. */
static void send_error(P9Call *c, int e)
{
    uint8_t body[4];
    P9Out m = { .p = body, .max = 4 };

    p9_out_u32(&m, -e);
    send_reply(c, T_RLERROR, body, 4);
}

/* ---- calls in flight */

static void fly(P9Server *s, P9Call *c)
{
    c->next = s->in_flight;
    s->in_flight = c;
    s->n_in_flight++;
}

static void land(P9Server *s, P9Call *c)
{
    for (P9Call **p = &s->in_flight; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            s->n_in_flight--;
            return;
        }
    }
}

static void answer_flushes(P9Call *waiting)
{
    while (waiting) {
        P9Call *c = waiting;

        waiting = c->flushes;
        send_reply(c, T_FLUSH + 1, NULL, 0);
    }
}

void p9_finish(P9Call *c, int result)
{
    P9Server *s = c->server;
    P9Call *waiting = c->flushes;
    uint8_t count[4];
    P9Out m = { .p = count, .max = 4 };

    land(s, c);
    p9_fid_unref(s, c->fid);
    if (result < 0) {
        send_error(c, result);
    } else if (c->type == 50) {
        send_reply(c, c->type + 1, NULL, 0);
    } else {
        p9_out_u32(&m, result);
        iov_write(&c->in, P9_HEADER, count, 4);
        send_reply(c, c->type + 1, NULL, c->type == 116 ? 4 + result : 4);
    }
    answer_flushes(waiting);
}

bool p9_busy(const P9Server *s)
{
    return s->n_in_flight;
}

/* Work that has begun is not called back: the answer comes behind that of the old call. */
static bool flush(P9Server *s, P9Call *c, uint16_t old)
{
    for (P9Call *o = s->in_flight; o; o = o->next) {
        if (o->tag == old && o != c) {
            c->flushes = o->flushes;
            o->flushes = c;
            return true;
        }
    }
    return false;
}

/* ---- sessions */

static void version(P9Server *s, P9Call *c, P9In *in)
{
    uint32_t msize = p9_in_u32(in);
    const char *name = p9_in_str(in);
    uint8_t body[64];
    P9Out m = { .p = body, .max = sizeof(body) };
    bool ok = !in->bad && msize >= 256 && g_str_has_prefix(name, "9P2000.L");

    p9_fids_clear(s);
    s->msize = ok ? MIN(msize, P9_MSIZE_MOST) : 0;
    if (ok)
        s->reply = g_realloc(s->reply, s->msize);
    p9_out_u32(&m, ok ? s->msize : MIN(msize, P9_MSIZE_MOST));
    p9_out_str(&m, ok ? "9P2000.L" : "unknown");
    if (c->in.len < P9_HEADER + m.len)
        send_error(c, -EMSGSIZE);
    else
        send_reply(c, T_VERSION + 1, body, m.len);
}

void p9_forget(P9Server *s)
{
    p9_fids_clear(s);
    p9_nodes_close(s);
    s->msize = 0;
}

unsigned p9_fids(const P9Server *s)
{
    return g_hash_table_size(s->fids);
}

/* ---- dispatch */

static int run(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    const struct Row *row = &rows[c->type];

    if (!row->fn)
        return -EOPNOTSUPP;
    if (!s->msize)
        return -EPROTO;         /* no version yet */
    if (row->flags & WRITES && s->fs->readonly)
        return -EROFS;
    int r = row->fn(s, c, in, out);
    if (r == P9_LATER)
        return r;
    return r ? r : in->bad ? -EINVAL : out->full ? -EMSGSIZE : 0;
}

static void dispatch(P9Server *s, P9Call *c, P9In *in)
{
    P9Out out = { .p = s->reply, .max = s->msize ? MIN(s->msize, c->in.len) - P9_HEADER : 0 };

    if (c->type == T_VERSION) {
        version(s, c, in);
        return;
    }
    if (c->type == T_FLUSH) {
        if (!flush(s, c, p9_in_u16(in)))
            send_reply(c, T_FLUSH + 1, NULL, 0);
        return;
    }
    int r = run(s, c, in, &out);
    if (r < 0)
        send_error(c, r);
    else if (r != P9_LATER)
        send_reply(c, c->type + 1, out.p, out.len);
}

void p9_call(P9Server *s, P9Call *c)
{
    P9In in = { .p = s->request, .len = MIN(c->out.len, P9_REQUEST_MOST) };

    c->server = s;
    c->fid = NULL;
    c->flushes = NULL;
    c->offloaded = false;
    /* An error is 11 bytes; drivers offer no more than the reply can have. */
    if (c->out.len < P9_HEADER || c->in.len < P9_IO_HEADER) {
        c->done(c, 0);
        return;
    }
    iov_read(&c->out, 0, s->request, in.len);
    uint32_t size = p9_in_u32(&in);
    c->type = p9_in_u8(&in);
    c->tag = p9_in_u16(&in);
    if (size < P9_HEADER || size > c->out.len) {
        c->done(c, 0);
        return;
    }
    /* A long message is data to be written, or nothing of ours. */
    in.len = MIN(in.len, size);
    c->out = iov_slice(&c->out, 0, size);
    if (size > P9_REQUEST_MOST && c->type != 118)
        send_error(c, -EMSGSIZE);
    else if (s->n_in_flight >= IN_FLIGHT_MOST)
        send_error(c, -EBUSY);
    else
        dispatch(s, c, &in);
}

/* ---- calls that wait for the host's disk */

static void work(void *opaque)
{
    P9Call *c = opaque;
    struct iovec v[1024];
    size_t bytes;
    IoVec part = c->type == 116 ? iov_slice(&c->in, P9_IO_HEADER, c->count) : iov_slice(&c->out, 23, c->count);
    unsigned n = iov_elements(&part, v, G_N_ELEMENTS(v), &bytes);
    ssize_t r = c->type == 116 ? preadv(c->fid->fd, v, n, c->offset) : pwritev(c->fid->fd, v, n, c->offset);

    c->result = r < 0 ? -errno : (int)r;
    if (r > 0 && c->type == 118 && c->server->fs->writeout)
        sync_file_range(c->fid->fd, c->offset, r, SYNC_FILE_RANGE_WRITE);
}

static void work_sync(void *opaque)
{
    P9Call *c = opaque;

    c->result = (c->count ? fdatasync(c->fid->fd) : fsync(c->fid->fd)) < 0 ? -errno : 0;
}

static void co_work(void *opaque)
{
    P9Call *c = opaque;

    co_offload(c->type == 50 ? work_sync : work, c);
    p9_finish(c, c->result);
}

int p9_later(P9Server *s, P9Call *c, P9Fid *f)
{
    c->fid = f;
    f->refs++;
    fly(s, c);
    if (s->loop) {
        co_start(s->loop, co_work, c);
    } else {
        (c->type == 50 ? work_sync : work)(c);
        p9_finish(c, c->result);
    }
    return P9_LATER;
}

/* ---- life */

/* Descriptors are what a large tree needs; the limit one starts with is for programs that use select. */
static unsigned raise_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 1024;
    if (r.rlim_cur < 65536 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = MIN(r.rlim_max, 65536);
        setrlimit(RLIMIT_NOFILE, &r);
        getrlimit(RLIMIT_NOFILE, &r);
    }
    return MIN(r.rlim_cur, 65536);
}

Err *p9_new(FsDev *fs, Loop *loop, P9Server **out)
{
    struct statx st;
    int fd = open(fs->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_INO, &st) < 0) {
        Err *e = err_path(errno, fs->path, "cannot open the folder '%s'", fs->path);

        if (fd >= 0)
            close(fd);
        return e;
    }
    P9Server *s = g_new0(P9Server, 1);
    unsigned limit = raise_limit();
    *s = (P9Server){
        .fs = fs, .loop = loop, .root = p9_node_root_new(fd), .nodes = p9_nodes_table(),
        .fids = g_hash_table_new(NULL, NULL), .request = g_malloc(P9_REQUEST_MOST + 1),
        .names = g_malloc(P9_NAMES), .most_dirs = MAX(limit / 8, P9_DIRS_LEAST), .most_files = limit / 2,
        .devices = { { st.stx_dev_major, st.stx_dev_minor } }, .n_devices = 1,
    };
    *out = s;
    return NULL;
}

void p9_free(P9Server *s)
{
    if (!s)
        return;
    p9_forget(s);
    p9_node_unref(s, s->root);
    g_hash_table_destroy(s->fids);
    g_hash_table_destroy(s->nodes);
    g_free(s->request);
    g_free(s->reply);
    g_free(s->names);
    g_free(s);
}
