/* SPDX-License-Identifier: MIT */
/*
 * filter-dump: the frames of a backend in a file that Wireshark and tcpdump
 * read (pcap, link type Ethernet, microseconds). Written through a buffer that
 * is flushed at the latest when nothing has come for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/net-priv.h"
#include "util/opts.h"
#include "util/path.h"

enum { DUMP_BUFFER = 256 << 10, DUMP_DELAY_NS = 200000000 };

typedef struct Dump {
    NetTap tap;
    char *id;                   /* of the object; may be "" */
    FILE *file;
    uint32_t maxlen;
    bool failed;
    Alarm flush;
} Dump;

static void fail(Dump *d)
{
    if (!d->failed)
        err_report(err_errno(errno, "filter-dump: the capture ends here"));
    d->failed = true;
}

static void dump_frame(NetTap *t, const IoVec *plain, bool from_port)
{
    Dump *d = (Dump *)t;
    uint32_t take = MIN(plain->len, d->maxlen), head[4];
    struct timeval now;
    g_autofree uint8_t *bytes = NULL;
    struct iovec v[1];
    size_t n;

    if (d->failed)
        return;
    gettimeofday(&now, NULL);
    head[0] = now.tv_sec, head[1] = now.tv_usec, head[2] = take, head[3] = plain->len;
    fwrite(head, sizeof(head), 1, d->file);
    if (take && iov_elements(plain, v, 1, &n) && n >= take) {
        fwrite(v[0].iov_base, take, 1, d->file);
    } else if (take) {
        bytes = g_malloc(take);
        iov_read(plain, 0, bytes, take);
        fwrite(bytes, take, 1, d->file);
    }
    if (ferror(d->file))
        fail(d);
    if (d->flush.when < 0)
        alarm_set(&d->flush, loop_now() + DUMP_DELAY_NS);
}

static void dump_flush(void *opaque)
{
    Dump *d = opaque;

    if (fflush(d->file))
        fail(d);
}

static void dump_free(NetTap *t)
{
    Dump *d = (Dump *)t;

    alarm_del(&d->flush);
    if (fclose(d->file) && !d->failed)
        fail(d);
    g_free(d->id);
    g_free(d);
}

static Err *dump_open(NetPort *p, const char *id, const char *path, uint64_t maxlen)
{
    const uint32_t head[6] = { 0xa1b2c3d4, 4 << 16 | 2, 0, 0, maxlen, 1 };
    FILE *f = fopen(path, "wbe");

    if (!f)
        return err_path(errno, path, "cannot write '%s'", path);
    setvbuf(f, NULL, _IOFBF, DUMP_BUFFER);
    if (fwrite(head, sizeof(head), 1, f) != 1 || fflush(f)) {
        fclose(f);
        return err_errno(errno, "cannot write '%s'", path);
    }
    Dump *d = g_new0(Dump, 1);

    *d = (Dump){ .tap = { dump_frame, dump_free, p->taps }, .id = g_strdup(id), .file = f, .maxlen = maxlen };
    alarm_init(&d->flush, p->net->loop, dump_flush, d);
    p->taps = &d->tap;
    return NULL;
}

static const OptDesc dump_opts[] = {
    { "netdev", OPT_STR, "the backend", .required = true },
    { "file", OPT_STR, "where the frames go", .required = true },
    { "maxlen", OPT_SIZE, "bytes kept of each (65536)" },
    { "qom-type", OPT_STR, NULL }, { "id", OPT_STR, "its name" }, { "queue", OPT_STR, "all" }, { "status", OPT_STR, "on" },
    { "position", OPT_STR, NULL }, { "insert", OPT_STR, NULL },
    { 0 }
};

static Err *dump_add(Net *n, const Opts *o)
{
    NetPort *p = NULL;
    uint64_t maxlen = opts_num(o, "maxlen", 65536);

    if (strcmp(opts_str(o, "queue", "all"), "all") || strcmp(opts_str(o, "status", "on"), "on") ||
        opts_has(o, "position") || opts_has(o, "insert"))
        return err_hint(err(ERR_UNSUPPORTED, "only queue=all and status=on are available, and no position"),
                        "Without them all frames of the backend are written.");
    if (!maxlen || maxlen > NET_FRAME_MAX)
        return err(ERR_INVALID, "maxlen is 1 to %d", NET_FRAME_MAX);
    TRY(net_backend(n, opts_str(o, "netdev", ""), &p));
    return dump_open(p, opts_str(o, "id", ""), opts_str(o, "file", ""), maxlen);
}

Err *net_dump_add(Net *n, const char *props)
{
    Opts *o = NULL;

    TRY(err_in(opts_parse(props, dump_opts, "qom-type", &o), "filter-dump"));
    Err *e = dump_add(n, o);

    opts_free(o);
    return err_in(e, "filter-dump");
}

bool net_dump_exists(Net *n, const char *id, bool del)
{
    for (NetPort *p = NULL; (p = net_next(n, p)); ) {
        for (NetTap **at = &p->taps; *at; at = &(*at)->next) {
            NetTap *t = *at;

            if (t->frame != dump_frame || strcmp(((Dump *)t)->id, id))
                continue;
            if (del) {
                *at = t->next;
                t->free(t);
            }
            return true;
        }
    }
    return false;
}
