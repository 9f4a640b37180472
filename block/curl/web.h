/* SPDX-License-Identifier: MIT */
/*
 * Range requests by libcurl, for coroutines: the library, opened when it is
 * first needed; its sockets and timer in our loop; a transfer at a time into a
 * buffer. The driver (curl.c) decides what to fetch and what to keep.
 *
 * libcurl's functions are called from the loop's own stack where they do work
 * (socket and timer callbacks), and from coroutines only to set up.
 */
#ifndef BLOCK_CURL_WEB_H
#define BLOCK_CURL_WEB_H

#include <curl/curl.h>
#include <glib.h>

#include "block/driver.h"

/* Names without their curl_. */
#define CURL_FUNCTIONS(X)                                                                   \
    X(global_init) X(easy_init) X(easy_setopt) X(easy_getinfo) X(easy_cleanup) X(easy_strerror) \
    X(multi_init) X(multi_cleanup) X(multi_setopt) X(multi_add_handle) X(multi_remove_handle)   \
    X(multi_socket_action) X(multi_info_read) X(multi_strerror)

typedef struct CurlLib {
#define X(name) __typeof__(&curl_##name) name;
    CURL_FUNCTIONS(X)
#undef X
} CurlLib;

/* How to ask; strings are borrowed and live as long as the Web. */
typedef struct WebConfig {
    const char *url, *username, *password, *proxy_username, *proxy_password, *cookie;
    bool verify;                    /* the server's certificate */
    unsigned timeout;               /* seconds to connect in, and without a byte */
} WebConfig;

typedef struct Web Web;

/* What the server says of the file: it must not change. */
typedef struct WebFacts {
    bool known;
    uint64_t size;
    char *etag, *modified;          /* as its headers have them, or NULL */
} WebFacts;

typedef struct Fetch {
    Web *web;
    uint64_t off;
    size_t want, got, room;         /* room: of buf */
    uint8_t *buf;
    bool busy, ok;                  /* ok: it ended well, got == want */
    bool transient;                 /* it failed on the way: another try may do better */
    uint64_t used;                  /* the driver's: when, by its own clock */
    unsigned waiting;               /* the driver's: who waits for progress */
    CoQueue progress;               /* wakes when got grows or busy ends */
    /* web.c's own, of the answer that runs: */
    CURL *easy;
    char *error;                    /* why it failed, or NULL */
    char said[CURL_ERROR_SIZE];
    int64_t range_start, range_total;       /* Content-Range; -1: none, or no total */
    int64_t length;                 /* of the body, as libcurl heard of it; -1: unknown */
    char *etag, *modified;
    uint64_t served;                /* bytes that readers have had, of late: the reader's own */
} Fetch;

MUST_USE Err *web_new(Loop *loop, const WebConfig *c, Web **out);
/* Ends whatever runs. NULL is fine. */
void web_free(Web *w);
const WebFacts *web_facts(const Web *w);

/* Gets the facts with the first bytes (HTTP), or by themselves (FTP); `f` may hold data then. May yield. */
MUST_USE Err *web_open(Web *w, Fetch *f, size_t first);
/* Begins to fill f->buf with [off, off + want); f is busy until it ended. false: out of memory. */
bool web_start(Web *w, Fetch *f, uint64_t off, size_t want);
void web_cancel(Fetch *f);
void web_fetch_free(Fetch *f);

#endif
