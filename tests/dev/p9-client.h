/* SPDX-License-Identifier: MIT */
/*
 * A client of 9P2000.L for tests: messages by formats, b w d q for numbers of
 * 1, 2, 4, 8 bytes, s for strings, r for raw bytes (pointer, length), n: like d,
 * the length of the r that follows.
 */
#ifndef TESTS_DEV_P9_CLIENT_H
#define TESTS_DEV_P9_CLIENT_H

#include <stdarg.h>
#include <string.h>

#include "hw/9p/p9.h"
#include "tests/unit/test.h"

enum { NOFID = -1, P9_BUF = 1 << 20 };

typedef struct P9Client {
    P9Server *server;
    uint8_t req[P9_BUF], rep[P9_BUF];
    uint32_t len, at;           /* of the reply */
    uint32_t room;              /* for replies; 0: P9_BUF */
    bool answered, split;       /* split: buffers in odd pieces */
} P9Client;

static inline void p9c_number(uint8_t **p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *(*p)++ = v >> 8 * i;
}

static inline uint32_t p9c_vbuild(uint8_t *req, uint8_t type, uint16_t tag, const char *fmt, va_list ap)
{
    uint8_t *p = req + 7;

    for (; *fmt; fmt++) {
        switch (*fmt) {
        case 'b': p9c_number(&p, va_arg(ap, int), 1); break;
        case 'w': p9c_number(&p, va_arg(ap, int), 2); break;
        case 'd': p9c_number(&p, va_arg(ap, unsigned), 4); break;
        case 'q': p9c_number(&p, va_arg(ap, uint64_t), 8); break;
        case 's': {
            const char *s = va_arg(ap, const char *);

            p9c_number(&p, strlen(s), 2);
            memcpy(p, s, strlen(s));
            p += strlen(s);
            break;
        }
        case 'r': {
            const void *data = va_arg(ap, const void *);
            unsigned n = va_arg(ap, unsigned);

            memcpy(p, data, n);
            p += n;
            break;
        }
        }
    }
    uint32_t len = p - req;
    p = req;
    p9c_number(&p, len, 4);
    p9c_number(&p, type, 1);
    p9c_number(&p, tag, 2);
    return len;
}

static inline void p9c_done(P9Call *c, uint32_t len);
typedef struct P9TestCall { P9Call call; P9Client *client; } P9TestCall;
static inline void p9c_done(P9Call *c, uint32_t len)
{
    P9Client *k = ((P9TestCall *)c)->client;

    k->len = len;
    k->answered = true;
}

static inline uint64_t p9c_get(P9Client *k, int bytes)
{
    uint64_t v = 0;

    CHECK(k->at + bytes <= k->len);
    for (int i = 0; i < bytes && k->at < k->len; i++)
        v |= (uint64_t)k->rep[k->at++] << 8 * i;
    return v;
}

/* Sends what is in k->req as it is. True: there was an answer. */
static inline bool p9c_raw(P9Client *k, uint32_t len)
{
    P9TestCall t = { .client = k, .call.done = p9c_done };
    struct iovec o[3] = { { k->req, len } }, i[3] = { { k->rep, k->room ? k->room : P9_BUF } };
    unsigned no = 1, ni = 1;

    if (k->split && len > 3) {
        o[0].iov_len = 3;
        o[1] = (struct iovec){ k->req + 3, len - 3 };
        no = 2;
        i[0].iov_len = 9;
        i[1] = (struct iovec){ k->rep + 9, 1000 };
        i[2] = (struct iovec){ k->rep + 1009, P9_BUF - 1009 };
        ni = 3;
    }
    t.call.out = iov_of(o, no);
    t.call.in = iov_of(i, ni);
    k->answered = false;
    k->len = k->at = 0;
    p9_call(k->server, &t.call);
    return k->answered && k->len;
}

/* 0 or -errno of the reply, whose body is read next. */
static inline int p9c_result(P9Client *k, uint8_t type)
{
    uint32_t size = p9c_get(k, 4);
    uint8_t got = p9c_get(k, 1);

    CHECK_EQ(size, k->len);
    p9c_get(k, 2);
    if (got == 7)
        return -(int)p9c_get(k, 4);
    CHECK_EQ(got, type + 1);
    return 0;
}

static inline int p9c(P9Client *k, uint8_t type, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    uint32_t len = p9c_vbuild(k->req, type, 1, fmt, ap);
    va_end(ap);
    if (!p9c_raw(k, len)) {
        CHECK(!"an answer");
        return -1;
    }
    return p9c_result(k, type);
}

typedef struct P9Attr { uint64_t qid, valid, nlink, rdev, size; uint32_t mode, uid, gid; int64_t mtime; } P9Attr;

static inline int p9c_getattr(P9Client *k, unsigned fid, P9Attr *a)
{
    int e = p9c(k, 24, "dq", fid, UINT64_C(0x3fff));

    if (e)
        return e;
    a->valid = p9c_get(k, 8);
    p9c_get(k, 5);
    a->qid = p9c_get(k, 8);
    a->mode = p9c_get(k, 4);
    a->uid = p9c_get(k, 4);
    a->gid = p9c_get(k, 4);
    a->nlink = p9c_get(k, 8);
    a->rdev = p9c_get(k, 8);
    a->size = p9c_get(k, 8);
    k->at += 8 + 8 + 16;
    a->mtime = p9c_get(k, 8);
    return 0;
}

/* Walks by "a/b/c" from one fid to a new one; "": clones. */
static inline int p9c_walk(P9Client *k, unsigned from, unsigned to, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);
    uint8_t *p = k->req + 7;
    unsigned n = *path ? g_strv_length(names) : 0;

    p9c_number(&p, from, 4);
    p9c_number(&p, to, 4);
    p9c_number(&p, n, 2);
    for (unsigned i = 0; i < n; i++) {
        p9c_number(&p, strlen(names[i]), 2);
        memcpy(p, names[i], strlen(names[i]));
        p += strlen(names[i]);
    }
    uint32_t len = p - k->req;
    p = k->req;
    p9c_number(&p, len, 4);
    p9c_number(&p, 110, 1);
    p9c_number(&p, 1, 2);
    if (!p9c_raw(k, len))
        return -1;
    int e = p9c_result(k, 110);
    return e ? e : p9c_get(k, 2) == n ? 0 : -ENOENT;
}

static inline int p9c_clunk(P9Client *k, unsigned fid)
{
    return p9c(k, 120, "d", fid);
}

static inline int p9c_start(P9Client *k, unsigned msize)
{
    int e = p9c(k, 100, "ds", msize, "9P2000.L");

    return e ? e : p9c(k, 104, "ddssd", 0u, (unsigned)NOFID, "root", "", 0u);
}

#endif
