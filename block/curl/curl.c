/* SPDX-License-Identifier: MIT */
/*
 * The protocols http, https, ftp and ftps: a file on the web, read-only. What is
 * fetched is at least `readahead` long and stays in one of a few buffers; who
 * reads on at the end of one has the next fetched meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "block/curl/web.h"
#include "block/objects.h"

#define FETCHES 16
#define FETCH_MAX (4u << 20)        /* bytes of one */
#define TIMEOUT_MAX 10000

typedef struct CurlNode {
    BlockNode node;
    char *url, *username, *password_secret, *proxy_username, *proxy_password_secret, *cookie, *cookie_secret;
    uint64_t readahead, timeout;
    bool sslverify, force_range;

    Web *web;
    char *password, *proxy_password, *cookie_text;      /* out of the secrets; wiped */
    Fetch fetches[FETCHES];
    uint64_t clock, next;           /* next: where the last read ended */
    bool told;                      /* an error was shown */
} CurlNode;

static const Field curl_fields[] = {
    PROP(CurlNode, url, .doc = "address of the file"),
    PROP(CurlNode, readahead, .def = "256K", .units = true, .doc = "bytes to fetch at least"),
    PROP(CurlNode, sslverify, .def = "on", .doc = "the server's certificate must be good"),
    PROP(CurlNode, timeout, .def = "5", .doc = "seconds to connect in, and to wait for data"),
    PROP(CurlNode, username, .doc = "user at the server"),
    PROP(CurlNode, password_secret, .doc = "id of a secret: the password"),
    PROP(CurlNode, proxy_username, .doc = "user at the proxy"),
    PROP(CurlNode, proxy_password_secret, .doc = "id of a secret: the proxy's password"),
    PROP(CurlNode, cookie, .doc = "cookies to send: name=value; name=value"),
    PROP(CurlNode, cookie_secret, .doc = "id of a secret: cookies to send"),
    PROP(CurlNode, force_range, .doc = "accepted: ranges are always asked for"),
    {0}
};

/* ---- options */

static Err *curl_secret(CurlNode *c, const char *id, char **out)
{
    uint8_t *bytes;
    size_t len;

    if (!id)
        return NULL;
    TRY(secret_bytes(graph_objects(c->node.graph), id, &bytes, &len));
    *out = g_strndup((char *)bytes, len);
    secret_free(bytes, len);
    return NULL;
}

static void wipe(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    g_clear_pointer(text, g_free);
}

static Err *curl_options(CurlNode *c)
{
    const char *scheme = c->node.drv->name;
    size_t n = strlen(scheme);

    if (!c->url)
        return err(ERR_INVALID, "%s needs url=ADDRESS", scheme);
    if (g_ascii_strncasecmp(c->url, scheme, n) || strncmp(c->url + n, "://", 3))
        return err_hint(err(ERR_INVALID, "'%s' is no address of %s://", c->url, scheme), "Choose the driver by the address.");
    if (c->readahead % 512 || !c->readahead || c->readahead > FETCH_MAX)
        return err(ERR_INVALID, "readahead is a multiple of 512 up to %u", FETCH_MAX);
    if (!c->timeout || c->timeout > TIMEOUT_MAX)
        return err(ERR_INVALID, "timeout is 1 to %d seconds", TIMEOUT_MAX);
    if (c->cookie && c->cookie_secret)
        return err(ERR_INVALID, "cookie and cookie-secret exclude each other");
    TRY(curl_secret(c, c->password_secret, &c->password));
    TRY(curl_secret(c, c->proxy_password_secret, &c->proxy_password));
    return curl_secret(c, c->cookie_secret, &c->cookie_text);
}

/* ---- open and close */

static Err *curl_open(BlockNode *node)
{
    CurlNode *c = (CurlNode *)node;

    TRY(curl_options(c));
    WebConfig w = { .url = c->url, .username = c->username, .password = c->password, .proxy_username = c->proxy_username,
                    .proxy_password = c->proxy_password, .cookie = c->cookie ? c->cookie : c->cookie_text,
                    .verify = c->sslverify, .timeout = c->timeout };
    TRY(web_new(graph_loop(node->graph), &w, &c->web));
    TRY(err_in(web_open(c->web, &c->fetches[0], c->readahead), "'%s'", c->url));
    node->size = web_facts(c->web)->size;
    node->limits.opt_transfer = 0;
    return NULL;
}

static void curl_close(BlockNode *node)
{
    CurlNode *c = (CurlNode *)node;

    for (int i = 0; i < FETCHES; i++)
        web_fetch_free(&c->fetches[i]);
    web_free(c->web);
    c->web = NULL;
    wipe(&c->password);
    wipe(&c->proxy_password);
    wipe(&c->cookie_text);
}

/* ---- reading */

/* The fetch that has, or will have, the byte at off. */
static Fetch *find(CurlNode *c, uint64_t off)
{
    for (int i = 0; i < FETCHES; i++) {
        Fetch *f = &c->fetches[i];
        if ((f->busy || f->ok) && off >= f->off && off - f->off < f->want)
            return f;
    }
    return NULL;
}

/* Until one may be free: all are in use. */
static void wait_for_any(CurlNode *c)
{
    for (int i = 0; i < FETCHES; i++) {
        if (c->fetches[i].busy) {
            co_queue_wait(&c->fetches[i].progress);
            return;
        }
    }
    co_pause();         /* those who wait for them are about to run */
}

/* What is in it has not been read yet: several who read on in different places would fetch it again. */
static bool is_owed(const Fetch *f)
{
    return f->ok && f->served < f->want;
}

static bool sooner(const Fetch *f, const Fetch *than)
{
    if (f->ok != than->ok)
        return !f->ok;
    return is_owed(f) != is_owed(than) ? !is_owed(f) : f->used < than->used;
}

/* The one to fill anew: unused, else one that was read, else not used for longest. NULL: all are busy, or waited for. */
static Fetch *oldest(CurlNode *c)
{
    Fetch *best = NULL;

    for (int i = 0; i < FETCHES; i++) {
        Fetch *f = &c->fetches[i];
        if (!f->busy && !f->waiting && (!best || sooner(f, best)))
            best = f;
    }
    return best;
}

/* Begins to fetch at off, no further than where another fetch begins. */
static Fetch *fetch(CurlNode *c, uint64_t off, uint64_t least)
{
    uint64_t want = MIN(MAX(least, c->readahead), FETCH_MAX);
    Fetch *f = oldest(c);

    if (!f)
        return NULL;
    want = MIN(want, c->node.size - off);
    for (int i = 0; i < FETCHES; i++) {
        const Fetch *other = &c->fetches[i];
        if (other != f && (other->busy || other->ok) && other->off > off)
            want = MIN(want, other->off - off);
    }
    f->used = ++c->clock;
    f->served = 0;
    return web_start(c->web, f, off, want) ? f : NULL;
}

/* Who reads on gets the next part fetched while the rest of this one is used. */
static void fetch_ahead(CurlNode *c, uint64_t off, uint64_t end)
{
    const Fetch *f = find(c, end - 1);

    if (off == c->next && f && end - f->off > f->want / 2) {
        uint64_t next = f->off + f->want;
        const Fetch *room = oldest(c);
        if (next < c->node.size && !find(c, next) && room && !is_owed(room))
            fetch(c, next, f->want);
    }
    c->next = end;
}

static void tell(CurlNode *c, const Fetch *f)
{
    if (!c->told && f->error)
        err_note("'%s': %s", c->url, f->error);
    c->told = true;
}

/*
 * Copies what there is of the bytes at off; how many, 0: come again, or -errno.
 * *tries: how often a connection that broke may still be made anew.
 */
static ssize_t take(CurlNode *c, uint64_t off, const IoVec *q, size_t done, unsigned *tries)
{
    Fetch *f = find(c, off);

    if (!f) {
        f = fetch(c, off, q->len - done);
        if (!f) {
            if (oldest(c))
                return -ENOMEM;
            wait_for_any(c);
            return 0;
        }
    }
    uint64_t at = off - f->off;
    if (at >= f->got) {
        if (f->busy) {
            f->waiting++;
            co_queue_wait(&f->progress);
            f->waiting--;
        }
        if (f->busy || f->ok || (f->transient && (*tries)--))
            return 0;
        tell(c, f);
        return -EIO;
    }
    size_t n = MIN(f->got - at, q->len - done);
    iov_write(q, done, f->buf + at, n);
    f->used = ++c->clock;
    f->served += n;
    return n;
}

static int curl_read(BlockNode *node, uint64_t off, const IoVec *q, unsigned flags)
{
    CurlNode *c = (CurlNode *)node;
    size_t done = 0;
    unsigned tries = 1;

    while (done < q->len) {
        ssize_t n = take(c, off + done, q, done, &tries);
        if (n < 0)
            return n;
        done += n;
    }
    c->told = false;
    fetch_ahead(c, off, off + q->len);
    return 0;
}

/* ---- names */

static Err *curl_parse_name(const char *name, json_t *options)
{
    json_object_set_new(options, "url", json_string(name));
    return NULL;
}

static char *curl_make_name(BlockNode *node)
{
    const CurlNode *c = (CurlNode *)node;

    if (!c->sslverify || c->cookie || c->cookie_secret || c->username || c->password_secret || c->proxy_username ||
        c->proxy_password_secret)
        return NULL;
    return g_strdup(c->url);
}

static bool curl_secret_option(const char *name)
{
    return !strcmp(name, "cookie");
}

static const char *const http_schemes[] = { "http:", NULL }, *const https_schemes[] = { "https:", NULL };
static const char *const ftp_schemes[] = { "ftp:", NULL }, *const ftps_schemes[] = { "ftps:", NULL };

#define ROW(name_, doc_)                                                                        \
    .name = #name_, .doc = doc_, .kind = DRIVER_PROTOCOL, .size = sizeof(CurlNode), .fields = curl_fields,  \
    .schemes = name_##_schemes, .parse_name = curl_parse_name, .make_name = curl_make_name,     \
    .secret_option = curl_secret_option, .open = curl_open, .close = curl_close, .read = curl_read

BLOCK(http) = { ROW(http, "file on the web") };
BLOCK(https) = { ROW(https, "file on the web, encrypted") };
BLOCK(ftp) = { ROW(ftp, "file at an FTP server") };
BLOCK(ftps) = { ROW(ftps, "file at an FTP server, encrypted") };
