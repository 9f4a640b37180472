/* SPDX-License-Identifier: MIT */
/*
 * NBD's handshake as a server: fixed newstyle (sections "Handshake" and "Option
 * types" of the protocol). With TLS credentials the server is what the protocol
 * calls FORCEDTLS.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/nbd/server-priv.h"

#define OPTION_MAX (64 << 10)           /* bytes of an option's data that are read */
#define OPTION_SKIP (4 << 20)           /* that are skipped, to say that they were too many */

typedef struct Option {
    uint32_t type, len;
    uint8_t data[OPTION_MAX];
} Option;

static Err *broken(int ret)
{
    return ret == -EPIPE ? err(ERR_IO, "it left during the handshake") : err_errno(-ret, "handshake");
}

static Err *reply(NbdClient *c, const Option *o, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[20];

    put32(put32(put32(put64(head, NBD_REP_MAGIC), o->type), type), len);
    struct iovec v[2] = { { head, sizeof(head) }, { (void *)data, len } };
    int ret = wire_writev(c->s, v, 2);
    return ret ? broken(ret) : NULL;
}

static Err *refuse(NbdClient *c, const Option *o, uint32_t type, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static Err *refuse(NbdClient *c, const Option *o, uint32_t type, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return reply(c, o, type, text, MIN(strlen(text), NBD_NAME_MAX));
}

/* ---- data of options: a cursor that never passes the end */

typedef struct Cursor { const uint8_t *p; size_t left; } Cursor;

static bool take16(Cursor *c, uint16_t *v)
{
    if (c->left < 2)
        return false;
    *v = get16(c->p);
    c->p += 2;
    c->left -= 2;
    return true;
}

static bool take32(Cursor *c, uint32_t *v)
{
    if (c->left < 4)
        return false;
    *v = get32(c->p);
    c->p += 4;
    c->left -= 4;
    return true;
}

/* A string with its length in front; NULL: too long, or with a NUL. */
static char *take_string(Cursor *c)
{
    uint32_t len;

    if (!take32(c, &len) || len > c->left || len > NBD_NAME_MAX || memchr(c->p, 0, len))
        return NULL;
    char *s = g_strndup((const char *)c->p, len);
    c->p += len;
    c->left -= len;
    return s;
}

/* ---- exports; each may be removed while we write to the client, but for its memory */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(NbdExport, nbd_export_unref)

/* With a hold, or NULL. */
static NbdExport *find_export(NbdClient *c, const char *name)
{
    NbdExport *x = name ? nbd_export_find(c->server, name) : NULL;

    return x ? nbd_export_ref(x) : NULL;
}

static Err *not_present(NbdClient *c, const Option *o, const char *name)
{
    return refuse(c, o, NBD_REP_ERR_UNKNOWN, "export '%s' not present", name);
}

void nbd_forget_contexts(NbdClient *c)
{
    g_free(c->contexts);
    c->contexts = NULL;
    nbd_export_unref(c->context_export);
    c->context_export = NULL;
}

uint16_t nbd_export_flags(const NbdClient *c, const NbdExport *x)
{
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

    if (x->writable)
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    else
        flags |= NBD_FLAG_READ_ONLY;
    if (x->multi_conn)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    if (c->structured || c->extended)
        flags |= NBD_FLAG_SEND_DF;
    if (c->extended)
        flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    return flags;
}

static Err *send_info(NbdClient *c, const Option *o, uint16_t type, const void *data, size_t len)
{
    g_autofree uint8_t *b = g_malloc(2 + len);

    memcpy(put16(b, type), data, len);
    return reply(c, o, NBD_REP_INFO, b, 2 + len);
}

static void choose(NbdClient *c, NbdExport *x)
{
    c->export = nbd_export_ref(x);
    x->clients++;
    c->server->serving++;
    if (c->context_export != x)
        nbd_forget_contexts(c);
}

static Err *send_facts(NbdClient *c, const Option *o, NbdExport *x, bool name, bool text)
{
    uint8_t b[12];

    if (name)
        TRY(send_info(c, o, NBD_INFO_NAME, x->name, strlen(x->name)));
    if (text && x->description)
        TRY(send_info(c, o, NBD_INFO_DESCRIPTION, x->description, strlen(x->description)));
    put32(put32(put32(b, 1), 4096), NBD_MAX_PAYLOAD);
    TRY(send_info(c, o, NBD_INFO_BLOCK_SIZE, b, 12));
    put16(put64(b, nbd_export_size(x)), nbd_export_flags(c, x));
    return send_info(c, o, NBD_INFO_EXPORT, b, 10);
}

static Err *opt_info(NbdClient *c, const Option *o)
{
    Cursor k = { o->data, o->len };
    g_autofree char *name = take_string(&k);
    bool want_name = false, want_text = false;
    uint16_t n, what;

    if (!name || !take16(&k, &n) || k.left != n * 2u)
        return refuse(c, o, NBD_REP_ERR_INVALID, "malformed");
    while (n-- && take16(&k, &what)) {
        want_name |= what == NBD_INFO_NAME;
        want_text |= what == NBD_INFO_DESCRIPTION;
    }
    g_autoptr(NbdExport) x = find_export(c, name);
    if (!x)
        return not_present(c, o, name);
    TRY(send_facts(c, o, x, want_name, want_text));
    if (x->gone)
        return not_present(c, o, name);
    if (o->type == NBD_OPT_GO)
        choose(c, x);
    Err *e = reply(c, o, NBD_REP_ACK, NULL, 0);
    c->shaken = c->export;
    return e;
}

static Err *opt_export_name(NbdClient *c, const Option *o)
{
    uint8_t b[10 + 124] = { 0 };
    g_autofree char *name = NULL;

    if (o->len > NBD_NAME_MAX || memchr(o->data, 0, o->len))
        return err(ERR_INVALID, "its export name is no text");
    name = g_strndup((const char *)o->data, o->len);
    g_autoptr(NbdExport) x = find_export(c, name);
    if (!x)
        return err(ERR_NOT_FOUND, "it asked for an export '%s'", name);
    if (c->extended)
        return err(ERR_INVALID, "it asked for an export by EXPORT_NAME with extended headers");
    choose(c, x);
    put16(put64(b, nbd_export_size(x)), nbd_export_flags(c, x));
    int ret = wire_write(c->s, b, c->no_zeroes ? 10 : sizeof(b));
    c->shaken = true;
    return ret ? broken(ret) : NULL;
}

static Err *opt_list(NbdClient *c, const Option *o)
{
    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "LIST has no data");
    /* The list may change while we write: what is sent is what there was. */
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
    for (NbdExport *x = c->server->exports; x; x = x->next) {
        GByteArray *a = g_byte_array_new();
        uint8_t n[4];
        put32(n, strlen(x->name));
        g_byte_array_append(a, n, 4);
        g_byte_array_append(a, (const uint8_t *)x->name, strlen(x->name));
        if (x->description)
            g_byte_array_append(a, (const uint8_t *)x->description, strlen(x->description));
        g_ptr_array_add(all, a);
    }
    for (unsigned i = 0; i < all->len; i++) {
        const GByteArray *a = all->pdata[i];
        TRY(reply(c, o, NBD_REP_SERVER, a->data, a->len));
    }
    return reply(c, o, NBD_REP_ACK, NULL, 0);
}

/* ---- metadata contexts */

/* Does the query choose, or (list) match, a context of that name? */
static bool context_wanted(const char *query, const char *name, bool list)
{
    if (!strcmp(query, name))
        return true;
    return list && (!strcmp(query, "base:") || !strcmp(query, "qemu:") || !strcmp(query, NBD_DIRTY_BITMAP)) &&
           g_str_has_prefix(name, query);
}

static Err *send_contexts(NbdClient *c, const Option *o, char **names, const bool *want, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!want[i])
            continue;
        size_t len = strlen(names[i]);
        g_autofree uint8_t *b = g_malloc(4 + len);
        memcpy(put32(b, o->type == NBD_OPT_SET_META_CONTEXT ? i : 0), names[i], len);
        TRY(reply(c, o, NBD_REP_META_CONTEXT, b, 4 + len));
    }
    return reply(c, o, NBD_REP_ACK, NULL, 0);
}

static Err *opt_contexts(NbdClient *c, const Option *o)
{
    Cursor k = { o->data, o->len };
    bool list = o->type == NBD_OPT_LIST_META_CONTEXT, malformed = false;
    uint32_t queries = 0;

    if (!list)              /* replaces what was chosen, also when it fails */
        nbd_forget_contexts(c);
    if (!c->structured && !c->extended)
        return refuse(c, o, NBD_REP_ERR_INVALID, "contexts need structured replies");
    g_autofree char *name = take_string(&k);
    if (!name || !take32(&k, &queries))
        return refuse(c, o, NBD_REP_ERR_INVALID, "malformed");
    g_autoptr(NbdExport) x = find_export(c, name);
    if (!x)
        return not_present(c, o, name);
    unsigned n = nbd_context_count(x);
    g_autofree bool *want = g_new0(bool, n);
    g_auto(GStrv) names = g_new0(char *, n + 1);
    for (unsigned i = 0; i < n; i++) {
        names[i] = nbd_context_name(x, i);
        if (!names[i])      /* not offered; an empty name matches nothing */
            names[i] = g_strdup("");
        want[i] = list && !queries && *names[i];
    }
    while (queries-- && !malformed) {
        g_autofree char *query = take_string(&k);
        malformed = !query;
        for (unsigned i = 0; query && i < n; i++)
            want[i] |= *names[i] && context_wanted(query, names[i], list);
    }
    if (malformed || k.left)
        return refuse(c, o, NBD_REP_ERR_INVALID, "malformed");
    if (!list) {
        c->contexts = g_memdup2(want, n * sizeof(bool));
        c->n_contexts = n;
        c->context_export = nbd_export_ref(x);
    }
    return send_contexts(c, o, names, want, n);
}

/* ---- options */

static Err *opt_starttls(NbdClient *c, const Option *o)
{
    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "STARTTLS has no data");
    if (!c->server->c.tls)
        return refuse(c, o, NBD_REP_ERR_POLICY, "TLS not configured");
    if (c->tls)
        return refuse(c, o, NBD_REP_ERR_INVALID, "TLS is in use already");
    TRY(reply(c, o, NBD_REP_ACK, NULL, 0));
    TRY(tls_start(c->s, c->server->c.tls, true, NULL));
    c->tls = true;
    /* Nothing that was said in the clear counts. */
    c->structured = c->extended = false;
    nbd_forget_contexts(c);
    return NULL;
}

static Err *opt_headers(NbdClient *c, const Option *o)
{
    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "there is no data with this option");
    if (o->type == NBD_OPT_EXTENDED_HEADERS) {
        if (c->extended)
            return refuse(c, o, NBD_REP_ERR_INVALID, "extended headers are in use already");
        c->extended = true;
    } else {
        if (c->extended)
            return refuse(c, o, NBD_REP_ERR_EXT_HEADER_REQD, "extended headers are in use already");
        if (c->structured)
            return refuse(c, o, NBD_REP_ERR_INVALID, "structured replies are in use already");
        c->structured = true;
    }
    return reply(c, o, NBD_REP_ACK, NULL, 0);
}

static Err *opt_abort(NbdClient *c, const Option *o)
{
    err_free(reply(c, o, NBD_REP_ACK, NULL, 0));
    c->shaken = true;       /* without an export */
    return NULL;
}

static Err *answer(NbdClient *c, const Option *o)
{
    if (c->server->c.tls && !c->tls) {
        switch (o->type) {
        case NBD_OPT_STARTTLS:
            return opt_starttls(c, o);
        case NBD_OPT_ABORT:
            return opt_abort(c, o);
        case NBD_OPT_EXPORT_NAME:
            return err(ERR_INVALID, "it asked for an export without TLS");
        default:
            return refuse(c, o, NBD_REP_ERR_TLS_REQD, "TLS is required");
        }
    }
    switch (o->type) {
    case NBD_OPT_EXPORT_NAME:
        return opt_export_name(c, o);
    case NBD_OPT_ABORT:
        return opt_abort(c, o);
    case NBD_OPT_LIST:
        return opt_list(c, o);
    case NBD_OPT_STARTTLS:
        return opt_starttls(c, o);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return opt_info(c, o);
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS:
        return opt_headers(c, o);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return opt_contexts(c, o);
    }
    return refuse(c, o, NBD_REP_ERR_UNSUP, "unknown option %" PRIu32, o->type);
}

static Err *one_option(NbdClient *c, Option *o)
{
    uint8_t head[16];
    int ret = wire_read(c->s, head, sizeof(head));

    if (ret)
        return broken(ret);
    if (get64(head) != NBD_OPTS_MAGIC)
        return err(ERR_INVALID, "it speaks no NBD (wrong magic number of an option)");
    o->type = get32(head + 8);
    o->len = get32(head + 12);
    if (o->len > (o->type == NBD_OPT_EXPORT_NAME ? NBD_NAME_MAX : OPTION_MAX)) {
        if (o->len > OPTION_SKIP || o->type == NBD_OPT_EXPORT_NAME)
            return err(ERR_INVALID, "it sent an option of %u bytes", o->len);
        ret = wire_skip(c->s, o->len);
        return ret ? broken(ret) : refuse(c, o, NBD_REP_ERR_TOO_BIG, "too long");
    }
    ret = wire_read(c->s, o->data, o->len);
    return ret ? broken(ret) : answer(c, o);
}

Err *nbd_shake(NbdClient *c)
{
    uint8_t hello[18], flags[4];
    g_autofree Option *o = NULL;

    put16(put64(put64(hello, NBD_INIT_MAGIC), NBD_OPTS_MAGIC), NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    int ret = wire_write(c->s, hello, sizeof(hello));
    if (!ret)
        ret = wire_read(c->s, flags, sizeof(flags));
    if (ret)
        return broken(ret);
    if (get32(flags) & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return err(ERR_INVALID, "it wants something that is not known here (flags %#x)", get32(flags));
    c->no_zeroes = get32(flags) & NBD_FLAG_NO_ZEROES;
    o = g_new(Option, 1);
    while (!c->shaken)
        TRY(one_option(c, o));
    return NULL;
}
