/* SPDX-License-Identifier: MIT */
/*
 * The console's qemu-io: a request to a node or drive of the running machine,
 * in lyre-io's words, of which it has those with data: read, write, discard,
 * flush. For tests, and for looking into a disk.
 */
#include <string.h>

#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"
#include "util/str.h"

#define REQUEST_MAX (UINT64_C(64) << 20)

typedef struct Request {
    char verb;                  /* r, w, z, d, f */
    const char *name;
    bool pattern;
    uint8_t byte;
    uint64_t off, len;
    GString *out;
} Request;

static Err *parse(char **words, Request *r)
{
    static const char *const verbs[] = { "read", "write", "discard", "flush", NULL };
    int verb = *words ? qmp_enum(verbs, *words) : -1;
    uint64_t byte = 0;

    if (verb < 0)
        return err_hint(err(ERR_INVALID, "command \"%s\" not found", *words ? *words : ""), "read, write, discard and flush are there.");
    r->name = verbs[verb];
    r->verb = r->name[0];
    for (words++; *words && **words == '-'; words++) {
        if (!strcmp(*words, "-P") && words[1]) {
            TRY(parse_size(*++words, 1, &byte));
            r->pattern = true;
            r->byte = (uint8_t)byte;
        } else if (!strcmp(*words, "-z") && r->verb == 'w') {
            r->verb = 'z';
        } else if (strcmp(*words, "-q")) {
            return err(ERR_INVALID, "option '%s' is not known here", *words);
        }
    }
    if (r->verb == 'f')
        return NULL;
    if (!words[0] || !words[1])
        return err(ERR_INVALID, "%s [-P byte] [-z] off len", r->name);
    TRY(parse_size(words[0], 1, &r->off));
    TRY(parse_size(words[1], 1, &r->len));
    return r->len <= REQUEST_MAX ? NULL : err(ERR_INVALID, "at most 64M at once");
}

static int move(Disk *d, Request *r)
{
    g_autofree uint8_t *buf = g_malloc(r->len + 1);
    IoVec q = IOV_BUF(buf, r->len);
    int ret;

    memset(buf, r->pattern ? r->byte : 0xcd, r->len);
    if (r->verb == 'w')
        return disk_write(d, r->off, &q, 0);
    ret = disk_read(d, r->off, &q, 0);
    for (uint64_t i = 0; !ret && r->pattern && i < r->len; i++) {
        if (buf[i] == r->byte)
            continue;
        g_string_append_printf(r->out, "Pattern verification failed at offset %" G_GUINT64_FORMAT "\n", r->off + i);
        break;
    }
    return ret;
}

static int obey(Disk *d, Request *r)
{
    switch (r->verb) {
    case 'z': return disk_zero(d, r->off, r->len, 0);
    case 'd': return disk_discard(d, r->off, r->len);
    case 'f': return disk_flush(d);
    default:  return move(d, r);
    }
}

static Err *at(BlockVisit *v)
{
    Request *r = (Request *)v->args;
    bool writes = r->verb != 'r' && r->verb != 'f';
    Disk *d;

    TRY(disk_new(v->node, PERM_CONSISTENT_READ | (writes ? PERM_WRITE : 0), PERM_ALL, "qemu-io", &d));
    int ret = obey(d, r);
    disk_free(d);
    if (ret < 0)
        g_string_append_printf(r->out, "%s failed: %s\n", r->name, strerror(-ret));
    else if (r->verb != 'f')
        g_string_append_printf(r->out, "%s %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT "\n",
                               r->verb == 'r' ? "read" : r->verb == 'd' ? "discard" : "wrote", r->len, r->len, r->off);
    return NULL;
}

/* The command may be in quotes. */
Err *hmp_qemu_io(Monitor *m, const HmpQemuIoArgs *args, GString *out)
{
    Request r = { .out = out };
    char **words = NULL;
    int n;

    if (!g_shell_parse_argv(args->command, &n, &words, NULL))
        return err(ERR_INVALID, "'%s' has an odd quote, or nothing", args->command);
    if (n == 1) {
        char **inner = g_strsplit_set(words[0], " ", -1);
        g_strfreev(words);
        words = inner;
    }
    Err *e = parse(words, &r);
    if (!e)
        e = block_at(m->vm, args->device, at, &r);
    g_strfreev(words);
    return e;
}
