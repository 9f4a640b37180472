/* SPDX-License-Identifier: MIT */
/*
 * NBD's handshake as a client: oldstyle, newstyle and fixed newstyle (sections
 * "Handshake" and "Option types" of the protocol). Options are asked for one
 * after the other: STARTTLS, EXTENDED_HEADERS or STRUCTURED_REPLY,
 * SET_META_CONTEXT, GO; EXPORT_NAME where a server has no GO.
 *
 * The server is not believed: its strings are at most NBD_NAME_MAX bytes, a
 * reply that does not fit its option ends the handshake.
 */
#include "block/nbd/client.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>

#define REPLY_MAX (NBD_NAME_MAX * 2 + 64)   /* bytes of an option's reply */
#define REPLIES_MAX 16384                   /* to one option: the longest list */
#define TOTAL_MAX (64 << 20)                /* bytes of all replies of a handshake */

/* One handshake. */
typedef struct Shake {
    Wire *s;
    const NbdWish *w;
    bool fixed, no_zeroes, tls;
    size_t total;                           /* bytes that the server sent */
} Shake;

typedef struct Reply {
    uint32_t type, len;
    uint8_t data[REPLY_MAX + 1];            /* ended by a NUL that is not counted */
} Reply;

void nbd_info_clear(NbdInfo *i)
{
    g_free(i->name);
    g_free(i->description);
    g_strfreev(i->contexts);
    *i = (NbdInfo){ 0 };
}

static const char *const option_names[] = {
    "?", "EXPORT_NAME", "ABORT", "LIST", "?", "STARTTLS", "INFO", "GO", "STRUCTURED_REPLY", "LIST_META_CONTEXT",
    "SET_META_CONTEXT", "EXTENDED_HEADERS",
};

static Err *broken(int ret, const char *what)
{
    if (ret == -EPIPE)
        return err(ERR_IO, "the server ended the connection during the handshake (%s)", what);
    return err_errno(-ret, "NBD handshake, %s", what);
}

static Err *send_option(Shake *h, uint32_t option, const void *data, uint32_t len)
{
    uint8_t head[16];

    put32(put32(put64(head, NBD_OPTS_MAGIC), option), len);
    struct iovec v[2] = { { head, sizeof(head) }, { (void *)data, len } };
    int ret = wire_writev(h->s, v, 2);
    return ret ? broken(ret, option_names[option]) : NULL;
}

static Err *get_reply(Shake *h, uint32_t option, Reply *r)
{
    uint8_t head[20];
    int ret = wire_read(h->s, head, sizeof(head));

    if (ret)
        return broken(ret, option_names[option]);
    if (get64(head) != NBD_REP_MAGIC)
        return err(ERR_IO, "the server's reply to %s has a wrong magic number", option_names[option]);
    if (get32(head + 8) != option)
        return err(ERR_IO, "the server replied to option %u, and %s was asked for", get32(head + 8), option_names[option]);
    r->type = get32(head + 12);
    r->len = get32(head + 16);
    h->total += r->len;
    if (r->len > REPLY_MAX || h->total > TOTAL_MAX)
        return err(ERR_IO, "the server's reply to %s is too long: %u bytes", option_names[option], r->len);
    ret = wire_read(h->s, r->data, r->len);
    r->data[r->len] = 0;
    return ret ? broken(ret, option_names[option]) : NULL;
}

/* An error reply in words; `what` was wished. */
static Err *reply_error(const Reply *r, const char *what)
{
    static const struct { uint32_t type; const char *text; } rows[] = {
        { NBD_REP_ERR_UNSUP, "the server does not know that" },
        { NBD_REP_ERR_POLICY, "the server does not allow that" },
        { NBD_REP_ERR_INVALID, "the server finds that invalid" },
        { NBD_REP_ERR_PLATFORM, "not available at the server" },
        { NBD_REP_ERR_TLS_REQD, "the server wants TLS" },
        { NBD_REP_ERR_UNKNOWN, "there is no such export" },
        { NBD_REP_ERR_SHUTDOWN, "the server is shutting down" },
        { NBD_REP_ERR_BLOCK_SIZE_REQD, "the server wants its block size to be respected" },
        { NBD_REP_ERR_TOO_BIG, "the server finds that too long" },
        { NBD_REP_ERR_EXT_HEADER_REQD, "the server wants extended headers" },
    };
    const char *text = "the server refused";

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].type == r->type)
            text = rows[i].text;
    g_autofree char *said = r->len ? g_utf8_make_valid((const char *)r->data, strnlen((char *)r->data, NBD_NAME_MAX)) : NULL;
    Err *e = err(r->type == NBD_REP_ERR_UNKNOWN ? ERR_NOT_FOUND : ERR_IO, "%s: %s%s%s%s", what, text,
                 said ? " (it says: " : "", said ? g_strdelimit(said, "\r\n\t\033", ' ') : "", said ? ")" : "");
    if (r->type == NBD_REP_ERR_TLS_REQD)
        e = err_hint(e, "Give credentials: tls-creds=ID of an --object tls-creds-x509 or tls-creds-psk.");
    return e;
}

static bool is_error(const Reply *r)
{
    return r->type >> 31;
}

/* An option without data that is granted or not. Not knowing it is no error. */
static Err *ask(Shake *h, uint32_t option, bool *granted)
{
    g_autofree Reply *r = g_new(Reply, 1);

    *granted = false;
    TRY(send_option(h, option, NULL, 0));
    TRY(get_reply(h, option, r));
    if (r->type == NBD_REP_ERR_TLS_REQD)
        return reply_error(r, option_names[option]);
    if (is_error(r))
        return NULL;
    if (r->type != NBD_REP_ACK || r->len)
        return err(ERR_IO, "the server's reply to %s makes no sense", option_names[option]);
    *granted = true;
    return NULL;
}

static Err *start_tls(Shake *h)
{
    g_autofree Reply *r = g_new(Reply, 1);

    if (!h->fixed)
        return err(ERR_UNSUPPORTED, "the server is too old for TLS");
    TRY(send_option(h, NBD_OPT_STARTTLS, NULL, 0));
    TRY(get_reply(h, NBD_OPT_STARTTLS, r));
    if (is_error(r))
        return reply_error(r, "TLS");
    if (r->type != NBD_REP_ACK || r->len)
        return err(ERR_IO, "the server's reply to STARTTLS makes no sense");
    TRY(tls_start(h->s, h->w->tls, false, h->w->tls_hostname));
    h->tls = true;
    return NULL;
}

/* name, then the queries: the data of both META_CONTEXT options. */
static GByteArray *context_data(const char *name, const char *query)
{
    GByteArray *a = g_byte_array_new();
    uint8_t n[4];

    put32(n, strlen(name));
    g_byte_array_append(a, n, 4);
    g_byte_array_append(a, (const uint8_t *)name, strlen(name));
    put32(n, query ? 1 : 0);
    g_byte_array_append(a, n, 4);
    if (query) {
        put32(n, strlen(query));
        g_byte_array_append(a, n, 4);
        g_byte_array_append(a, (const uint8_t *)query, strlen(query));
    }
    return a;
}

/* Sends the option; `found` is called for each context. Errors of the server are no errors here. */
static Err *ask_contexts(Shake *h, uint32_t option, const char *name, const char *query,
                         Err *(*found)(void *, uint32_t id, const char *), void *opaque)
{
    g_autofree Reply *r = g_new(Reply, 1);
    GByteArray *a = context_data(name, query);
    Err *e = send_option(h, option, a->data, a->len);

    g_byte_array_free(a, TRUE);
    TRY(e);
    for (unsigned n = 0; n < REPLIES_MAX; n++) {
        TRY(get_reply(h, option, r));
        if (r->type == NBD_REP_ACK || is_error(r))
            return r->len && !is_error(r) ? err(ERR_IO, "the server's reply to %s makes no sense", option_names[option])
                                          : NULL;
        if (r->type != NBD_REP_META_CONTEXT || r->len < 5 || strlen((char *)r->data + 4) != r->len - 4)
            return err(ERR_IO, "the server's reply to %s makes no sense", option_names[option]);
        TRY(found(opaque, get32(r->data), (char *)r->data + 4));
    }
    return err(ERR_IO, "the server's list of contexts has no end");
}

typedef struct Chosen { const char *want; NbdInfo *info; } Chosen;

static Err *context_chosen(void *opaque, uint32_t id, const char *name)
{
    Chosen *c = opaque;

    if (strcmp(name, c->want))
        return err(ERR_IO, "the server chose the context '%s' where '%s' was asked for", name, c->want);
    if (c->info->has_context)
        return err(ERR_IO, "the server chose the context '%s' twice", name);
    c->info->has_context = true;
    c->info->context_id = id;
    return NULL;
}

static Err *context_listed(void *opaque, uint32_t id, const char *name)
{
    if (((GPtrArray *)opaque)->len < 1024)
        g_ptr_array_add(opaque, g_utf8_make_valid(name, -1));
    return NULL;
}

/* ---- INFO and GO */

static Err *take_block_size(const Reply *r, NbdInfo *out)
{
    out->min_block = get32(r->data + 2);
    out->opt_block = get32(r->data + 6);
    out->max_payload = get32(r->data + 10);
    uint32_t min = out->min_block, max = out->max_payload;
    if (!min || min & (min - 1) || min > 65536)
        return err(ERR_IO, "the server's smallest block, %u bytes, is no power of two up to 64 KiB", min);
    if (out->opt_block & (out->opt_block - 1) || out->opt_block < min)
        return err(ERR_IO, "the server's preferred block, %u bytes, is no power of two of at least %u", out->opt_block, min);
    if (max < min)
        return err(ERR_IO, "the server's longest request, %u bytes, is shorter than its smallest block, %u", max, min);
    out->max_payload = max - max % min;
    return NULL;
}

static Err *take_info(const Reply *r, NbdInfo *out, bool *have_size)
{
    if (r->len < 2)
        return err(ERR_IO, "the server's information is too short");
    const char *text = (const char *)r->data + 2;
    switch (get16(r->data)) {
    case NBD_INFO_EXPORT:
        if (r->len != 12)
            break;
        out->size = get64(r->data + 2);
        out->flags = get16(r->data + 10);
        *have_size = true;
        return NULL;
    case NBD_INFO_BLOCK_SIZE:
        return r->len == 14 ? take_block_size(r, out) : err(ERR_IO, "the server's block sizes have a wrong length");
    case NBD_INFO_NAME:
        g_free(out->name);
        out->name = g_utf8_make_valid(text, strlen(text));
        return NULL;
    case NBD_INFO_DESCRIPTION:
        g_free(out->description);
        out->description = g_utf8_make_valid(text, strlen(text));
        return NULL;
    default:
        return NULL;        /* something new */
    }
    return err(ERR_IO, "the server's information about the export has a wrong length");
}

/* *supported false: the server does not know the option; nothing has happened. */
static Err *info_or_go(Shake *h, uint32_t option, const char *name, NbdInfo *out, bool *supported)
{
    size_t len = strlen(name);
    g_autofree uint8_t *data = g_malloc(4 + len + 2 + 3 * 2);
    uint8_t *p = put32(data, len);
    bool have_size = false;
    g_autofree Reply *r = g_new(Reply, 1);

    memcpy(p, name, len);
    p += len;
    if (option == NBD_OPT_INFO)
        p = put16(put16(put16(put16(p, 3), NBD_INFO_NAME), NBD_INFO_DESCRIPTION), NBD_INFO_BLOCK_SIZE);
    else
        p = put16(put16(p, 1), NBD_INFO_BLOCK_SIZE);
    *supported = true;
    TRY(send_option(h, option, data, p - data));
    for (unsigned n = 0; n < REPLIES_MAX; n++) {
        TRY(get_reply(h, option, r));
        if (r->type == NBD_REP_ERR_UNSUP) {
            *supported = false;
            return NULL;
        }
        if (is_error(r)) {
            g_autofree char *what = g_strdup_printf("export '%s'", name);
            return reply_error(r, what);
        }
        if (r->type == NBD_REP_ACK) {
            if (!have_size || r->len)
                return err(ERR_IO, "the server did not say how large the export '%s' is", name);
            return NULL;
        }
        if (r->type != NBD_REP_INFO)
            return err(ERR_IO, "the server's reply to %s makes no sense", option_names[option]);
        TRY(take_info(r, out, &have_size));
    }
    return err(ERR_IO, "the server's information has no end");
}

/* The old way, for servers without GO: there is no answer but the export or the end. */
static Err *export_name(Shake *h, NbdInfo *out)
{
    uint8_t data[10 + 124];

    TRY(send_option(h, NBD_OPT_EXPORT_NAME, h->w->export, strlen(h->w->export)));
    int ret = wire_read(h->s, data, h->no_zeroes ? 10 : sizeof(data));
    if (ret == -EPIPE)
        return err_hint(err(ERR_NOT_FOUND, "the server ended the connection: it has no export '%s', most likely",
                            h->w->export), "lyre-nbd --list shows what a server has.");
    if (ret)
        return broken(ret, "EXPORT_NAME");
    out->size = get64(data);
    out->flags = get16(data + 8);
    return NULL;
}

/* ---- greetings */

/* *oldstyle: the export's facts are in `out` already. */
static Err *greet(Shake *h, NbdInfo *out)
{
    uint8_t hello[16], more[2 + 8 + 124], answer[4];
    int ret = wire_read(h->s, hello, sizeof(hello));

    if (ret == -EPIPE)
        return err(ERR_IO, "the server ended the connection before it said hello");
    if (ret)
        return broken(ret, "hello");
    if (get64(hello) != NBD_INIT_MAGIC)
        return err(ERR_IO, "the other side is no NBD server");
    if (get64(hello + 8) == NBD_OLD_MAGIC) {
        /* size, flags (16 bits of handshake, 16 of transmission), 124 bytes of nothing */
        uint8_t old[8 + 4 + 124];
        ret = wire_read(h->s, old, sizeof(old));
        if (ret)
            return broken(ret, "oldstyle");
        out->oldstyle = true;
        out->size = get64(old);
        out->flags = get16(old + 10);
        return NULL;
    }
    if (get64(hello + 8) != NBD_OPTS_MAGIC)
        return err(ERR_IO, "the server speaks no NBD that is known here (magic %#" PRIx64 ")", get64(hello + 8));
    ret = wire_read(h->s, more, 2);
    if (ret)
        return broken(ret, "hello");
    h->fixed = get16(more) & NBD_FLAG_FIXED_NEWSTYLE;
    h->no_zeroes = get16(more) & NBD_FLAG_NO_ZEROES;
    put32(answer, (h->fixed ? NBD_FLAG_FIXED_NEWSTYLE : 0) | (h->no_zeroes ? NBD_FLAG_NO_ZEROES : 0));
    ret = wire_write(h->s, answer, sizeof(answer));
    return ret ? broken(ret, "hello") : NULL;
}

static Err *check_facts(NbdInfo *out)
{
    if (out->size > INT64_MAX - (INT64_C(1) << 30))
        return err(ERR_IO, "the server's export is too large: %" PRIu64 " bytes", out->size);
    if (!(out->flags & NBD_FLAG_HAS_FLAGS))
        out->flags = 0;
    if (!out->min_block)
        out->min_block = 1;
    return NULL;
}

static Err *ask_headers(Shake *h, NbdInfo *out)
{
    if (!h->w->plain && !h->w->narrow)
        TRY(ask(h, NBD_OPT_EXTENDED_HEADERS, &out->extended));
    if (!h->w->plain && !out->extended)
        TRY(ask(h, NBD_OPT_STRUCTURED_REPLY, &out->structured));
    return NULL;
}

Err *nbd_negotiate(Wire *s, const NbdWish *w, NbdInfo *out)
{
    Shake h = { .s = s, .w = w };
    bool go = false;

    *out = (NbdInfo){ .name = g_strdup(w->export) };
    if (strlen(w->export) > NBD_NAME_MAX)
        return err(ERR_INVALID, "the export's name is longer than %d bytes", NBD_NAME_MAX);
    if (w->context && strlen(w->context) > NBD_NAME_MAX)
        return err(ERR_INVALID, "the context's name is longer than %d bytes", NBD_NAME_MAX);
    TRY(greet(&h, out));
    if (out->oldstyle) {
        if (w->tls)
            return err(ERR_UNSUPPORTED, "the server speaks the oldest form of NBD, which has no TLS");
        if (*w->export)
            return err(ERR_UNSUPPORTED, "the server speaks the oldest form of NBD, which has no export names");
        return check_facts(out);
    }
    if (w->tls)
        TRY(start_tls(&h));
    if (h.fixed) {
        TRY(ask_headers(&h, out));
        Chosen c = { w->context, out };
        if (w->context && (out->extended || out->structured))
            TRY(ask_contexts(&h, NBD_OPT_SET_META_CONTEXT, w->export, w->context, context_chosen, &c));
        TRY(info_or_go(&h, NBD_OPT_GO, w->export, out, &go));
        if (!go && out->extended)
            return err(ERR_IO, "the server knows extended headers, but not GO");
    }
    if (!go)
        TRY(export_name(&h, out));
    return check_facts(out);
}

/* ---- the list of exports */

static Err *list_names(Shake *h, GPtrArray *names, GPtrArray *descriptions)
{
    g_autofree Reply *r = g_new(Reply, 1);

    TRY(send_option(h, NBD_OPT_LIST, NULL, 0));
    for (unsigned n = 0; n < REPLIES_MAX; n++) {
        TRY(get_reply(h, NBD_OPT_LIST, r));
        if (is_error(r))
            return reply_error(r, "list of exports");
        if (r->type == NBD_REP_ACK)
            return NULL;
        uint32_t len = r->type == NBD_REP_SERVER && r->len >= 4 ? get32(r->data) : UINT32_MAX;
        if (len > r->len - 4 || len > NBD_NAME_MAX)
            return err(ERR_IO, "the server's list of exports makes no sense");
        g_ptr_array_add(names, g_strndup((char *)r->data + 4, len));
        g_ptr_array_add(descriptions, r->len > 4 + len ? g_strndup((char *)r->data + 4 + len, r->len - 4 - len) : NULL);
    }
    return err(ERR_IO, "the server's list of exports has no end");
}

static Err *list_one(Shake *h, const char *name, bool contexts, NbdInfo *out)
{
    bool info;

    TRY(info_or_go(h, NBD_OPT_INFO, name, out, &info));
    if (info)
        TRY(check_facts(out));
    if (contexts) {
        GPtrArray *names = g_ptr_array_new();
        Err *e = ask_contexts(h, NBD_OPT_LIST_META_CONTEXT, name, NULL, context_listed, names);
        g_ptr_array_add(names, NULL);
        out->contexts = (char **)g_ptr_array_free(names, FALSE);
        TRY(e);
    }
    return NULL;
}

static Err *list_all(Shake *h, GArray *out)
{
    NbdInfo first = { 0 };
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free), *texts = g_ptr_array_new();

    Err *e = ask_headers(h, &first);
    if (!e)
        e = list_names(h, names, texts);
    for (unsigned i = 0; !e && i < names->len; i++) {
        NbdInfo info = first;
        info.name = g_strdup(names->pdata[i]);
        info.description = g_steal_pointer(&texts->pdata[i]);
        e = list_one(h, names->pdata[i], first.structured || first.extended, &info);
        /* An export that just went is no reason to show none. */
        if (e && err_class(e) == ERR_NOT_FOUND) {
            err_free(e);
            e = NULL;
            nbd_info_clear(&info);
            continue;
        }
        g_array_append_val(out, info);
    }
    g_ptr_array_free(names, TRUE);
    for (unsigned i = 0; i < texts->len; i++)
        g_free(texts->pdata[i]);
    g_ptr_array_free(texts, TRUE);
    return e;
}

Err *nbd_list(Wire *s, const NbdWish *w, NbdInfo **list, unsigned *count)
{
    Shake h = { .s = s, .w = w };
    NbdInfo old = { .name = g_strdup("") };
    GArray *a = g_array_new(FALSE, FALSE, sizeof(NbdInfo));
    Err *e = greet(&h, &old);

    if (!e && old.oldstyle) {
        e = w->tls ? err(ERR_UNSUPPORTED, "the server speaks the oldest form of NBD, which has no TLS") : check_facts(&old);
        g_array_append_val(a, old);
    } else {
        nbd_info_clear(&old);
        if (!e && w->tls)
            e = start_tls(&h);
        if (!e && !h.fixed)
            e = err(ERR_UNSUPPORTED, "the server is too old to list its exports");
        if (!e)
            e = list_all(&h, a);
        /* A goodbye whose answer nobody waits for. */
        if (!e)
            err_free(send_option(&h, NBD_OPT_ABORT, NULL, 0));
    }
    *count = a->len;
    *list = (NbdInfo *)(void *)g_array_free(a, FALSE);
    if (e) {
        nbd_list_free(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return e;
}

void nbd_list_free(NbdInfo *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        nbd_info_clear(&list[i]);
    g_free(list);
}
