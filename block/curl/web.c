/* SPDX-License-Identifier: MIT */
/*
 * libcurl's multi interface, driven by the loop (libcurl-multi(3), "socket
 * action"): libcurl says which descriptors and which time to wait for, we say
 * what happened.
 *
 * A server is believed as far as this: HTTP answers must be 206 with the
 * Content-Range that was asked for (RFC 9110, 14.4), and the size, ETag and
 * Last-Modified of the first answer.
 */
#include "block/curl/web.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REDIRECTS_MAX 5
#define HEADER_MAX 4096             /* of those that are kept */

struct Web {
    Loop *loop;
    CurlLib lib;
    CURLM *multi;
    WebConfig c;
    WebFacts facts;
    bool http;
    GHashTable *watches;            /* descriptor -> Watch * */
    Alarm timer;
};

static Err *library_open(CurlLib *lib)
{
    static const char *const names[] = { "libcurl-gnutls.so.4", "libcurl.so.4", NULL };
    void *h = NULL;

    for (const char *const *n = names; *n && !h; n++)
        h = dlopen(*n, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!h)
        return err_hint(err(ERR_UNSUPPORTED, "reading from the web needs libcurl, which cannot be opened: %s", dlerror()),
                        "On Debian: apt install libcurl3-gnutls");
#define X(name)                                                                             \
    lib->name = (__typeof__(lib->name))dlsym(h, "curl_" #name);                             \
    if (!lib->name)                                                                         \
        return err(ERR_UNSUPPORTED, "libcurl has no function curl_" #name ": it is too old");
    CURL_FUNCTIONS(X)
#undef X
    return NULL;
}

/* ---- ends of transfers */

static void fetch_fail(Fetch *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fetch_fail(Fetch *f, const char *fmt, ...)
{
    va_list ap;

    if (f->error)
        return;
    va_start(ap, fmt);
    f->error = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

static void fetch_end(Fetch *f)
{
    Web *w = f->web;

    if (!f->busy)
        return;
    w->lib.multi_remove_handle(w->multi, f->easy);
    w->lib.easy_cleanup(f->easy);
    f->easy = NULL;
    f->busy = false;
    f->ok = !f->error && f->got == f->want;
    co_queue_wake_all(&f->progress);
}

void web_cancel(Fetch *f)
{
    if (f->busy) {
        fetch_fail(f, "given up");
        fetch_end(f);
    }
}

void web_fetch_free(Fetch *f)
{
    web_cancel(f);
    g_free(f->error);
    g_free(f->etag);
    g_free(f->modified);
    free(f->buf);
    *f = (Fetch){ 0 };
}

static void check_done(Web *w)
{
    CURLMsg *m;
    int left;

    while ((m = w->lib.multi_info_read(w->multi, &left))) {
        Fetch *f = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        w->lib.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f);
        curl_off_t length = -1;
        w->lib.easy_getinfo(m->easy_handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        f->length = length;
        f->transient = !f->error && code != CURLE_HTTP_RETURNED_ERROR && code != CURLE_OPERATION_TIMEDOUT;
        if (code != CURLE_OK)
            fetch_fail(f, "%s", *f->said ? f->said : w->lib.easy_strerror(code));
        else if (f->got != f->want)
            fetch_fail(f, "the server sent %zu bytes where %zu were asked for", f->got, f->want);
        fetch_end(f);
    }
}

/* ---- the loop */

static void act(Web *w, curl_socket_t fd, int events)
{
    int running;

    w->lib.multi_socket_action(w->multi, fd, events, &running);
    check_done(w);
}

typedef struct Socket { Watch watch; Web *web; } Socket;

static void socket_ready(void *opaque, uint32_t events)
{
    Socket *s = opaque;

    act(s->web, s->watch.fd, (events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
        (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (events & EPOLLERR ? CURL_CSELECT_ERR : 0));
}

static void socket_forget(void *p)
{
    Socket *s = p;

    watch_del(&s->watch);
    g_free(s);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *opaque, void *unused)
{
    Web *w = opaque;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    Socket *s = g_hash_table_lookup(w->watches, GINT_TO_POINTER(fd));

    if (what == CURL_POLL_REMOVE) {
        g_hash_table_remove(w->watches, GINT_TO_POINTER(fd));
    } else if (s) {
        watch_events(&s->watch, events);
    } else {
        s = g_new0(Socket, 1);
        s->web = w;
        s->watch.fd = -1;
        err_free(watch_add(&s->watch, w->loop, fd, events, socket_ready, s));
        g_hash_table_insert(w->watches, GINT_TO_POINTER(fd), s);
    }
    return 0;
}

/* libcurl closes a connection that it kept: no watch may outlive the descriptor. */
static int socket_closed(void *opaque, curl_socket_t fd)
{
    Web *w = opaque;

    g_hash_table_remove(w->watches, GINT_TO_POINTER(fd));
    return close(fd);
}

static void timer_fired(void *opaque)
{
    act(opaque, CURL_SOCKET_TIMEOUT, 0);
}

static int timer_wanted(CURLM *multi, long ms, void *opaque)
{
    Web *w = opaque;

    if (ms < 0)
        alarm_del(&w->timer);
    else
        alarm_set(&w->timer, loop_now() + ms * INT64_C(1000000));
    return 0;
}

/* ---- an answer: headers, then bytes */

/* The value of the header line if it has that name; g_free it. */
static char *header_value(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    if (len <= n || len > HEADER_MAX || g_ascii_strncasecmp(line, name, n) || line[n] != ':')
        return NULL;
    return g_strstrip(g_strndup(line + n + 1, len - n - 1));
}

static void take_range(Fetch *f, const char *text)
{
    int64_t start, end, total;
    int n = 0;

    if (sscanf(text, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64 "%n", &start, &end, &total, &n) == 3 && !text[n] &&
        start >= 0 && end >= start && total > end) {
        f->range_start = start;
        f->range_total = total;
    } else if (sscanf(text, "bytes */%" SCNd64 "%n", &total, &n) == 1 && !text[n] && total >= 0) {
        f->range_total = total;
    }
}

static size_t header_came(char *line, size_t size, size_t count, void *opaque)
{
    Fetch *f = opaque;
    size_t len = size * count;
    g_autofree char *range = header_value(line, len, "Content-Range");
    char *etag = header_value(line, len, "ETag"), *modified = header_value(line, len, "Last-Modified");

    if (len >= 5 && !memcmp(line, "HTTP/", 5)) {        /* another answer, after a redirection */
        g_clear_pointer(&f->etag, g_free);
        g_clear_pointer(&f->modified, g_free);
        f->range_start = f->range_total = -1;
    }
    if (range)
        take_range(f, range);
    if (etag) {
        g_free(f->etag);
        f->etag = etag;
    }
    if (modified) {
        g_free(f->modified);
        f->modified = modified;
    }
    return len;
}

static bool differs(const char *was, const char *is)
{
    return was && is && strcmp(was, is);
}

/* Is it the part of the file that was asked for, and the same file? */
static bool check_answer(Fetch *f)
{
    Web *w = f->web;
    const WebFacts *k = &w->facts;
    long status = 0;

    w->lib.easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
        fetch_fail(f, "the server does not send parts of files (it ignored the range of the request)");
        return false;
    }
    if (status == 206 && (f->range_start < 0 || (uint64_t)f->range_start != f->off)) {
        fetch_fail(f, "the server sent another part of the file than was asked for");
        return false;
    }
    if (status != 206)
        return true;            /* libcurl's FAILONERROR tells */
    if (k->known && ((uint64_t)f->range_total != k->size || differs(k->etag, f->etag) || differs(k->modified, f->modified))) {
        fetch_fail(f, "the file has changed at the server since it was opened");
        return false;
    }
    return true;
}

static size_t data_came(char *data, size_t size, size_t count, void *opaque)
{
    Fetch *f = opaque;
    size_t len = size * count;

    if (f->web->http && !f->got && !check_answer(f))
        return 0;
    if (len > f->want - f->got) {
        if (f->web->http)
            fetch_fail(f, "the server sent more than was asked for");
        else
            len = f->want - f->got;     /* FTP ends where we hang up */
        if (f->error)
            return 0;
    }
    if (len)
        memcpy(f->buf + f->got, data, len);
    f->got += len;
    co_queue_wake_all(&f->progress);
    return size * count;
}

/* ---- asking */

/* false: this libcurl cannot be told which protocols are allowed. */
static bool set_up(Web *w, Fetch *f)
{
    const WebConfig *c = &w->c;
    const CurlLib *l = &w->lib;
    CURL *e = f->easy;
    bool tls = g_str_has_prefix(c->url, "https:") || g_str_has_prefix(c->url, "ftps:");
    const char *protocols = w->http ? (tls ? "https" : "http,https") : tls ? "ftps" : "ftp,ftps";

    l->easy_setopt(e, CURLOPT_PRIVATE, f);
    l->easy_setopt(e, CURLOPT_URL, c->url);
    l->easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    l->easy_setopt(e, CURLOPT_FAILONERROR, 1L);
    l->easy_setopt(e, CURLOPT_ERRORBUFFER, f->said);
    l->easy_setopt(e, CURLOPT_USERAGENT, "lyre/" LYRE_VERSION);
    l->easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    l->easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    /* Without a way back from TLS. */
    if (l->easy_setopt(e, CURLOPT_PROTOCOLS_STR, protocols) || l->easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, protocols))
        return false;
    l->easy_setopt(e, CURLOPT_SSL_VERIFYPEER, (long)c->verify);
    l->easy_setopt(e, CURLOPT_SSL_VERIFYHOST, c->verify ? 2L : 0L);
    l->easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)c->timeout);
    l->easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    l->easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)c->timeout);
    l->easy_setopt(e, CURLOPT_HEADERFUNCTION, header_came);
    l->easy_setopt(e, CURLOPT_HEADERDATA, f);
    l->easy_setopt(e, CURLOPT_WRITEFUNCTION, data_came);
    l->easy_setopt(e, CURLOPT_WRITEDATA, f);
    l->easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, socket_closed);
    l->easy_setopt(e, CURLOPT_CLOSESOCKETDATA, w);
    /* After a part of a file nobody knows which answer of an FTP server belongs to what. */
    if (!w->http)
        l->easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    if (c->username)
        l->easy_setopt(e, CURLOPT_USERNAME, c->username);
    if (c->password)
        l->easy_setopt(e, CURLOPT_PASSWORD, c->password);
    if (c->proxy_username)
        l->easy_setopt(e, CURLOPT_PROXYUSERNAME, c->proxy_username);
    if (c->proxy_password)
        l->easy_setopt(e, CURLOPT_PROXYPASSWORD, c->proxy_password);
    if (c->cookie)
        l->easy_setopt(e, CURLOPT_COOKIE, c->cookie);
    return true;
}

static bool begin(Web *w, Fetch *f, uint64_t off, size_t want)
{
    g_clear_pointer(&f->error, g_free);
    g_clear_pointer(&f->etag, g_free);
    g_clear_pointer(&f->modified, g_free);
    f->web = w;
    f->off = off;
    f->want = want;
    f->got = 0;
    f->ok = f->transient = false;
    f->said[0] = 0;
    f->range_start = f->range_total = -1;
    if (want > f->room) {
        uint8_t *more = try_alloc(want, 1);
        if (!more)
            return false;
        free(f->buf);
        f->buf = more;
        f->room = want;
    }
    f->easy = w->lib.easy_init();
    if (!f->easy)
        return false;
    if (!set_up(w, f))
        fetch_fail(f, "libcurl is too old: 7.85 or later is needed");
    return true;
}

static void go(Web *w, Fetch *f)
{
    CURLMcode code = f->error ? CURLM_OK : w->lib.multi_add_handle(w->multi, f->easy);

    f->busy = true;
    if (code)
        fetch_fail(f, "%s", w->lib.multi_strerror(code));
    if (f->error)
        fetch_end(f);
}

bool web_start(Web *w, Fetch *f, uint64_t off, size_t want)
{
    char range[64];

    if (!begin(w, f, off, want))
        return false;
    snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, off, off + want - 1);
    w->lib.easy_setopt(f->easy, CURLOPT_RANGE, range);
    go(w, f);
    return true;
}

/* ---- opening */

static void wait_end(Fetch *f)
{
    while (f->busy)
        co_queue_wait(&f->progress);
}

/* The first part; a shorter file than was asked for is no error, its answer says how long it is. */
static Err *open_http(Web *w, Fetch *f, size_t first)
{
    if (!web_start(w, f, 0, first))
        return err(ERR_IO, "out of memory");
    wait_end(f);
    if (f->range_total >= 0 && (f->range_total == 0 || (f->got == MIN(first, (uint64_t)f->range_total)))) {
        f->want = f->got;
        f->ok = f->got;
    } else if (f->error) {
        Err *e = err(ERR_IO, "%s", f->error);
        return strstr(f->error, "parts of files")
                   ? err_hint(e, "Only servers that know range requests can be read at random. Copy the file first.") : e;
    } else {
        return err(ERR_IO, "the server does not say how long the file is");
    }
    if ((uint64_t)f->range_total > BLOCK_MAX_SIZE)
        return err(ERR_IO, "the file is too long: %" PRId64 " bytes", f->range_total);
    w->facts = (WebFacts){ true, f->range_total, g_strdup(f->etag), g_strdup(f->modified) };
    return NULL;
}

static Err *open_ftp(Web *w, Fetch *f)
{
    if (!begin(w, f, 0, 0))
        return err(ERR_IO, "out of memory");
    w->lib.easy_setopt(f->easy, CURLOPT_NOBODY, 1L);
    go(w, f);
    wait_end(f);
    if (f->error)
        return err(ERR_IO, "%s", f->error);
    if (f->length < 0 || (uint64_t)f->length > BLOCK_MAX_SIZE)
        return err(ERR_IO, "the server does not say how long the file is");
    w->facts = (WebFacts){ true, f->length, NULL, NULL };
    return NULL;
}

Err *web_open(Web *w, Fetch *f, size_t first)
{
    Err *e = w->http ? open_http(w, f, first) : open_ftp(w, f);

    if (e)
        web_cancel(f);
    return e;
}

Err *web_new(Loop *loop, const WebConfig *c, Web **out)
{
    Web *w = g_new0(Web, 1);
    Err *e = library_open(&w->lib);

    if (!e && w->lib.global_init(CURL_GLOBAL_ALL))
        e = err(ERR_UNSUPPORTED, "libcurl cannot be initialized");
    if (!e && !(w->multi = w->lib.multi_init()))
        e = err(ERR_IO, "libcurl: out of memory");
    if (e) {
        g_free(w);
        return e;
    }
    w->loop = loop;
    w->c = *c;
    w->http = g_str_has_prefix(c->url, "http");
    w->watches = g_hash_table_new_full(NULL, NULL, NULL, socket_forget);
    alarm_init(&w->timer, loop, timer_fired, w);
    w->lib.multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    w->lib.multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    w->lib.multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    w->lib.multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    *out = w;
    return NULL;
}

void web_free(Web *w)
{
    if (!w)
        return;
    w->lib.multi_cleanup(w->multi);
    alarm_del(&w->timer);
    g_hash_table_destroy(w->watches);
    g_free(w->facts.etag);
    g_free(w->facts.modified);
    g_free(w);
}

const WebFacts *web_facts(const Web *w)
{
    return &w->facts;
}
