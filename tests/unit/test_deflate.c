/* SPDX-License-Identifier: MIT */
/*
 * Deflate with a small window, against zlib's inflate that is told of it: pieces
 * of many kinds come out as they went in, and no byte is written beyond the room.
 */
#include "block/deflate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

#include "tests/unit/test.h"

enum { MOST = 300000, GUARD = 32 };

static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static uint8_t in[MOST], out[MOST + MOST / 100 + 100], back[MOST];

/* Bytes of few values, runs, repeats from near and from about a window away, noise, in turns. */
static void make(size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t n = 1 + rnd(rnd(4) ? 300 : 9000), from = 0;
        unsigned kind = rnd(6), values = 1 + rnd(256);

        n = n < len - at ? n : len - at;
        if (kind >= 4 && at)
            from = 1 + rnd(rnd(2) ? 4300 : (uint32_t)at);
        from = from < at ? from : at;
        for (size_t i = 0; i < n; i++)
            in[at + i] = kind == 0 ? 0 : kind == 1 || !from ? (uint8_t)rnd(values) : kind == 2 ? (uint8_t)rnd(256)
                       : kind == 3 ? (uint8_t)(values + (i & 3)) : in[at + i - from];
        at += n;
    }
}

static bool comes_back(const uint8_t *packed, size_t n, size_t len)
{
    z_stream z = { 0 };

    inflateInit2(&z, -12);
    z.next_in = (uint8_t *)packed;
    z.avail_in = (unsigned)n;
    z.next_out = back;
    z.avail_out = (unsigned)len;
    int ret = inflate(&z, Z_FINISH);
    bool ok = ret == Z_STREAM_END && !z.avail_in && !z.avail_out && !memcmp(in, back, len);
    inflateEnd(&z);
    return ok;
}

static void pieces_come_back(void)
{
    Deflate *d = deflate_new();

    for (unsigned round = 0; round < 400; round++) {
        size_t len = round < 40 ? round : 1 + rnd(round % 10 ? 20000 : MOST);
        make(len);
        size_t n = deflate_pack(d, in, len, out, sizeof(out));
        CHECK(n);
        CHECK(n <= len + len / 1000 + 20);
        CHECK(comes_back(out, n, len));
        if (test_case_bad) {
            printf("round %u, %zu bytes\n", round, len);
            break;
        }
    }
    deflate_free(d);
}

/* Whatever the room, what is behind it stays as it was. */
static void room_is_kept(void)
{
    Deflate *d = deflate_new();

    for (unsigned round = 0; round < 300; round++) {
        size_t len = 1 + rnd(3000);
        make(len);
        size_t whole = deflate_pack(d, in, len, out, sizeof(out)), room = rnd((uint32_t)whole + 40);
        memset(out, 0xa5, sizeof(out));
        size_t n = deflate_pack(d, in, len, out, room);
        for (size_t i = 0; i < GUARD; i++)
            CHECK_EQ(out[room + i], 0xa5);
        CHECK(n <= room);
        CHECK(n || room < whole + 16);
        CHECK(!n || comes_back(out, n, len));
    }
    deflate_free(d);
}

/* As small as zlib makes it, about. */
static void it_is_small(void)
{
    Deflate *d = deflate_new();
    z_stream z = { 0 };
    size_t ours = 0, theirs = 0;

    deflateInit2(&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY);
    for (unsigned round = 0; round < 30; round++) {
        make(65536);
        ours += deflate_pack(d, in, 65536, out, sizeof(out));
        deflateReset(&z);
        z.next_in = in;
        z.avail_in = 65536;
        z.next_out = out;
        z.avail_out = sizeof(out);
        deflate(&z, Z_FINISH);
        theirs += sizeof(out) - z.avail_out;
    }
    CHECK(ours < theirs + theirs / 50);
    deflateEnd(&z);
    memset(in, 0, 65536);
    CHECK(deflate_pack(d, in, 65536, out, sizeof(out)) < 120);
    deflate_free(d);
}

int main(void)
{
    RUN(pieces_come_back);
    RUN(room_is_kept);
    RUN(it_is_small);
    return test_end();
}
