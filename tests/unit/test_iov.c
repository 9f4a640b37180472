/* SPDX-License-Identifier: MIT */
/* Views of scattered memory, against a plain copy of the same bytes. */
#include "util/iov.h"

#include <stdlib.h>

#include "tests/unit/test.h"

static uint32_t seed = 12345;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static char store[4096];
static struct iovec pieces[16];

/* Up to 16 elements (some empty) of `store`, in order; returns how many. */
static unsigned scatter(void)
{
    unsigned n = 1 + rnd(16);
    size_t at = 0;

    for (unsigned i = 0; i < n; i++) {
        size_t len = rnd(4) ? rnd(200) : 0;

        at += rnd(30);
        pieces[i] = (struct iovec){ store + at, len };
        at += len;
    }
    return n;
}

static size_t flatten(unsigned n, char *out)
{
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        memcpy(out + len, pieces[i].iov_base, pieces[i].iov_len);
        len += pieces[i].iov_len;
    }
    return len;
}

static void random_views(void)
{
    char flat[4096], got[4096];

    for (int round = 0; round < 3000; round++) {
        for (unsigned i = 0; i < sizeof(store); i++)
            store[i] = (char)rnd(256);

        unsigned n = scatter();
        size_t len = flatten(n, flat);
        IoVec q = iov_of(pieces, n);

        CHECK_EQ(q.len, len);

        size_t off = rnd((uint32_t)len + 1), cut = rnd((uint32_t)(len - off) + 1);
        IoVec s = iov_slice(&q, off, cut);

        CHECK_EQ(s.len, cut);
        iov_read(&s, 0, got, cut);
        CHECK(!memcmp(got, flat + off, cut));

        /* a slice of a slice, written to */
        size_t off2 = rnd((uint32_t)cut + 1), cut2 = rnd((uint32_t)(cut - off2) + 1);
        IoVec t = iov_slice(&s, off2, cut2);
        size_t at = rnd((uint32_t)cut2 + 1), m = rnd((uint32_t)(cut2 - at) + 1);

        memset(got, 0x5a, m);
        iov_write(&t, at, got, m);
        memset(flat + off + off2 + at, 0x5a, m);
        iov_fill(&t, 0, 7, at);
        memset(flat + off + off2, 7, at);
        flatten(n, got);
        CHECK(!memcmp(got, flat, len));

        /* elements say the same bytes */
        struct iovec e[16];
        size_t bytes, sum = 0;
        unsigned k = iov_elements(&t, e, 16, &bytes);

        CHECK_EQ(bytes, cut2);
        for (unsigned i = 0; i < k; i++) {
            CHECK(!memcmp(e[i].iov_base, flat + off + off2 + sum, e[i].iov_len));
            sum += e[i].iov_len;
        }
        CHECK_EQ(sum, cut2);
        CHECK_EQ(iov_flat(&t) != NULL, k <= 1);

        unsigned few = iov_elements(&t, e, 2, &bytes);

        CHECK(few <= 2 && bytes <= cut2);
    }
}

static void copies_and_differences(void)
{
    char a[1000], b[1000];
    struct iovec va[10], vb[4];

    for (int i = 0; i < 10; i++)
        va[i] = (struct iovec){ a + 100 * i, 100 };
    for (int i = 0; i < 4; i++)
        vb[i] = (struct iovec){ b + 250 * i, 250 };
    for (int i = 0; i < 1000; i++)
        a[i] = (char)rnd(256);

    IoVec qa = iov_of(va, 10), qb = iov_of(vb, 4);

    iov_copy(&qb, &qa);
    CHECK(!memcmp(a, b, 1000));
    CHECK_EQ(iov_differ(&qa, &qb), 1000);
    for (int i = 0; i < 500; i++) {
        size_t at = rnd(1000);
        IoVec part = iov_slice(&qb, 0, rnd(1001));

        b[at] ^= 1;
        CHECK_EQ(iov_differ(&qa, &qb), at);
        CHECK_EQ(iov_differ(&qa, &part), at < part.len ? at : part.len);
        b[at] ^= 1;
    }

    char *big = calloc(2, 100000);
    struct iovec s1, s2;
    IoVec x = iov_buf(&s1, big, 100000), y = iov_buf(&s2, big + 100000, 100000);

    CHECK_EQ(iov_differ(&x, &y), 100000);
    big[77777] = 1;
    CHECK_EQ(iov_differ(&x, &y), 77777);
    free(big);
}

static void zeroes(void)
{
    char *buf = calloc(1, 5000);

    CHECK(buf_is_zero(buf, 0));
    for (size_t len = 1; len < 700; len++) {
        size_t start = rnd(64), at = start + rnd((uint32_t)len);

        CHECK(buf_is_zero(buf + start, len));
        buf[at] = (char)(1 << rnd(8));
        CHECK(!buf_is_zero(buf + start, len));
        if (start)
            CHECK(buf_is_zero(buf, at));
        CHECK(buf_is_zero(buf + at + 1, 1000));
        buf[at] = 0;
    }
    for (int i = 0; i < 4096; i++) {
        buf[i] = 1;
        CHECK(!buf_is_zero(buf, 4096));
        buf[i] = 0;
    }

    struct iovec v[3] = { { buf, 100 }, { buf + 100, 0 }, { buf + 200, 300 } };
    IoVec q = iov_of(v, 3);

    CHECK(iov_is_zero(&q));
    buf[150] = 1;               /* between them */
    CHECK(iov_is_zero(&q));
    buf[499] = 1;
    CHECK(!iov_is_zero(&q));
    free(buf);
}

static void alignment(void)
{
    _Alignas(512) static char buf[4096];
    struct iovec v[2] = { { buf, 512 }, { buf + 1024, 1024 } };
    IoVec q = iov_of(v, 2);

    CHECK(iov_aligned(&q, 512));
    CHECK(!iov_aligned(&q, 1024));

    IoVec s = iov_slice(&q, 512, 1024);

    CHECK(iov_aligned(&s, 1024));
    CHECK(iov_flat(&s) == buf + 1024);
    s = iov_slice(&q, 1, 512);
    CHECK(!iov_aligned(&s, 2));
    CHECK(iov_flat(&s) == NULL);

    IoVec one = IOV_BUF(buf, 10);

    CHECK_EQ(one.len, 10);
    CHECK(iov_flat(&one) == buf);
}

int main(void)
{
    RUN(random_views);
    RUN(copies_and_differences);
    RUN(zeroes);
    RUN(alignment);
    return test_end();
}
