/* SPDX-License-Identifier: MIT */
/*
 * Views of scattered memory: slices, copies, comparisons. Every function walks
 * the elements with a Walk, which never leaves the view.
 *
 * Lengths and offsets are the caller's to keep within the view (iov.h); a
 * mistake there is ours alone, so it ends the program instead of reading on.
 */
#include "util/iov.h"

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where in the elements a walk is: `left` bytes of the view remain. */
typedef struct Walk {
    const struct iovec *v;
    size_t at, left;
} Walk;

static void within(const IoVec *q, size_t off, size_t len)
{
    if (off > q->len || len > q->len - off) {
        fprintf(stderr, "iov: %zu bytes at %zu of a view of %zu\n", len, off, q->len);
        abort();
    }
}

static Walk walk_from(const IoVec *q, size_t off, size_t len)
{
    within(q, off, len);

    Walk w = { q->v, q->skip + off, len };

    while (w.left && w.at >= w.v->iov_len) {
        w.at -= w.v->iov_len;
        w.v++;
    }
    return w;
}

/* The next bytes that lie side by side, at most `max`; *n is 0 at the end. */
static char *walk_piece(Walk *w, size_t max, size_t *n)
{
    while (w->left && w->at == w->v->iov_len) {
        w->at = 0;
        w->v++;
    }
    if (!w->left) {
        *n = 0;
        return NULL;
    }

    size_t here = w->v->iov_len - w->at;
    char *p = (char *)w->v->iov_base + w->at;

    here = here < w->left ? here : w->left;
    here = here < max ? here : max;
    w->at += here;
    w->left -= here;
    *n = here;
    return p;
}

IoVec iov_of(const struct iovec *v, unsigned n)
{
    IoVec q = { v, n, 0, 0 };

    for (unsigned i = 0; i < n; i++)
        q.len += v[i].iov_len;
    return q;
}

IoVec iov_slice(const IoVec *q, size_t off, size_t len)
{
    within(q, off, len);

    IoVec s = { q->v, q->n, q->skip + off, len };

    while (s.n > 1 && s.skip >= s.v->iov_len) {
        s.skip -= s.v->iov_len;
        s.v++;
        s.n--;
    }
    return s;
}

void iov_read(const IoVec *q, size_t off, void *to, size_t len)
{
    Walk w = walk_from(q, off, len);
    char *out = to;
    size_t n;

    for (char *p; (p = walk_piece(&w, SIZE_MAX, &n)); out += n)
        memcpy(out, p, n);
}

void iov_write(const IoVec *q, size_t off, const void *from, size_t len)
{
    Walk w = walk_from(q, off, len);
    const char *in = from;
    size_t n;

    for (char *p; (p = walk_piece(&w, SIZE_MAX, &n)); in += n)
        memcpy(p, in, n);
}

void iov_fill(const IoVec *q, size_t off, int byte, size_t len)
{
    Walk w = walk_from(q, off, len);
    size_t n;

    for (char *p; (p = walk_piece(&w, SIZE_MAX, &n)); )
        memset(p, byte, n);
}

void iov_copy(const IoVec *to, const IoVec *from)
{
    Walk in = walk_from(from, 0, to->len), out = walk_from(to, 0, to->len);
    size_t n, m;

    for (char *p; (p = walk_piece(&in, SIZE_MAX, &n)); ) {
        for (; n; n -= m, p += m) {
            char *dst = walk_piece(&out, n, &m);

            memmove(dst, p, m);
        }
    }
}

bool iov_is_zero(const IoVec *q)
{
    Walk w = walk_from(q, 0, q->len);
    size_t n;

    for (char *p; (p = walk_piece(&w, SIZE_MAX, &n)); ) {
        if (!buf_is_zero(p, n))
            return false;
    }
    return true;
}

bool iov_aligned(const IoVec *q, size_t mem_align)
{
    Walk w = walk_from(q, 0, q->len);
    size_t n;

    for (char *p; (p = walk_piece(&w, SIZE_MAX, &n)); ) {
        if (((uintptr_t)p | n) & (mem_align - 1))
            return false;
    }
    return true;
}

/* The first of n bytes that differs; n: none. */
static size_t buf_differ(const char *a, const char *b, size_t n)
{
    size_t i = 0;

    /* memcmp is the host's fastest loop: it finds the block, the loops below the byte. */
    for (; n - i > 4096; i += 4096) {
        if (memcmp(a + i, b + i, 4096))
            break;
    }
    for (; n - i >= 8; i += 8) {
        uint64_t x, y;

        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y)
            return i + (unsigned)__builtin_ctzll(x ^ y) / 8;
    }
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

size_t iov_differ(const IoVec *a, const IoVec *b)
{
    size_t len = a->len < b->len ? a->len : b->len, done = 0, n, m;
    Walk wa = walk_from(a, 0, len), wb = walk_from(b, 0, len);

    for (char *p; (p = walk_piece(&wa, SIZE_MAX, &n)); ) {
        for (; n; n -= m, p += m, done += m) {
            const char *other = walk_piece(&wb, n, &m);
            size_t same = buf_differ(p, other, m);

            if (same < m)
                return done + same;
        }
    }
    return done;
}

unsigned iov_elements(const IoVec *q, struct iovec *out, unsigned max, size_t *bytes)
{
    Walk w = walk_from(q, 0, q->len);
    unsigned i = 0;
    size_t n;

    *bytes = 0;
    for (char *p; i < max && (p = walk_piece(&w, SIZE_MAX, &n)); i++) {
        out[i] = (struct iovec){ p, n };
        *bytes += n;
    }
    return i;
}

void *iov_flat(const IoVec *q)
{
    Walk w = walk_from(q, 0, q->len);
    size_t n;

    if (!q->len)
        return q->n ? q->v->iov_base : (void *)q;

    char *p = walk_piece(&w, SIZE_MAX, &n);

    return w.left ? NULL : p;
}

/* ---- zeroes */

/* Whole blocks of 128 bytes; returns how many bytes from the start are zero, in blocks. */
static size_t zero_blocks_sse2(const char *p, size_t len)
{
    size_t i = 0;

    for (; i + 128 <= len; i += 128) {
        const __m128i *v = (const void *)(p + i);
        __m128i x = _mm_setzero_si128();

        for (int k = 0; k < 8; k++)
            x = _mm_or_si128(x, _mm_loadu_si128(v + k));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_setzero_si128())) != 0xffff)
            break;
    }
    return i;
}

__attribute__((target("avx2")))
static size_t zero_blocks_avx2(const char *p, size_t len)
{
    size_t i = 0;

    for (; i + 128 <= len; i += 128) {
        const __m256i *v = (const void *)(p + i);
        __m256i x = _mm256_or_si256(_mm256_or_si256(_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)),
                                    _mm256_or_si256(_mm256_loadu_si256(v + 2), _mm256_loadu_si256(v + 3)));

        if (!_mm256_testz_si256(x, x))
            break;
    }
    return i;
}

static bool zero_tail(const char *p, size_t len)
{
    uint64_t x = 0, word;
    size_t i = 0;

    for (; i + 8 <= len; i += 8) {
        memcpy(&word, p + i, 8);
        x |= word;
    }
    for (; i < len; i++)
        x |= (unsigned char)p[i];
    return !x;
}

bool buf_is_zero(const void *buf, size_t len)
{
    const char *p = buf;

    /* Most data that is not zero says so at once, at one of its ends or in the middle. */
    if (len >= 128) {
        if (!zero_tail(p, 16) || !zero_tail(p + len - 16, 16) || !zero_tail(p + len / 2 - 8, 16))
            return false;

        size_t n = __builtin_cpu_supports("avx2") ? zero_blocks_avx2(p, len) : zero_blocks_sse2(p, len);

        if (len - n >= 128)
            return false;
        p += n;
        len -= n;
    }
    return zero_tail(p, len);
}
