/* SPDX-License-Identifier: MIT */
/*
 * Deflate, RFC 1951. Section numbers are the RFC's.
 *
 * Matches are found by hash chains over the last 4 KiB (positions that begin
 * with the same four bytes), and one table of three-byte beginnings. A match
 * waits for the one a byte later, which is taken if it is better. Blocks end
 * after BLOCK_TOKENS; each is stored, or coded by the fixed codes or its own,
 * whatever is least. Nothing is written before it is known to fit.
 */
#include "block/deflate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 4096,
    HASH_BITS = 14, HASH3_BITS = 12,
    MIN_MATCH = 3, MAX_MATCH = 258,
    NICE = 96,                  /* a match this long is taken at once */
    DEPTH = 16,                 /* chain links that are followed */
    LOOK_AHEAD = 16,            /* bytes behind a position that may be read */
    BLOCK_TOKENS = 20000,
    LITLENS = 288, DISTS = 32, PRECODES = 19,
    MAX_BITS = 15, MAX_PRECODE_BITS = 7,
    END_OF_BLOCK = 256,
    PATIENCE = 512,             /* bytes without a match, after which fewer positions are looked at */
};

typedef struct Code {
    uint16_t bits[LITLENS];     /* reversed, as they are written: 3.1.1 */
    uint8_t len[LITLENS];
} Code;

struct Deflate {
    uint32_t head[1 << HASH_BITS], head3[1 << HASH3_BITS];     /* position + 1; older than the window: nothing */
    uint32_t prev[WINDOW];
    uint32_t base;              /* added to positions, so that tables need no clearing between pieces */

    uint32_t token[BLOCK_TOKENS + 4];       /* a literal, or length << 16 | distance */
    unsigned tokens;
    uint32_t litlen_freq[LITLENS], dist_freq[DISTS];
    Code litlen, dist, precode;
    uint8_t len_symbol[MAX_MATCH + 1];      /* length: symbol - 257 */
    uint8_t dist_symbol[WINDOW + 1];

    uint8_t *out, *end;
    uint64_t acc;               /* bits that are not written yet */
    unsigned have;
};

/* 3.2.5: base and extra bits. */
static const uint16_t len_base[29] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59,
                                       67, 83, 99, 115, 131, 163, 195, 227, 258 };
static const uint8_t len_extra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4,
                                       5, 5, 5, 5, 0 };
static const uint16_t dist_base[24] = { 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513,
                                        769, 1025, 1537, 2049, 3073 };
static const uint8_t dist_extra[24] = { 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10 };
/* 3.2.7: the order of the code that codes codes. */
static const uint8_t precode_order[PRECODES] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };

Deflate *deflate_new(void)
{
    Deflate *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->base = WINDOW + 1;
    for (unsigned s = 0; s < 29; s++) {
        for (unsigned l = len_base[s]; l <= MAX_MATCH && l < len_base[s] + (1u << len_extra[s]); l++)
            d->len_symbol[l] = (uint8_t)s;
    }
    d->len_symbol[MAX_MATCH] = 28;
    for (unsigned s = 0; s < 24; s++) {
        for (unsigned x = dist_base[s]; x < dist_base[s] + (1u << dist_extra[s]); x++)
            d->dist_symbol[x] = (uint8_t)s;
    }
    return d;
}

void deflate_free(Deflate *d)
{
    free(d);
}

/* ---- codes: 3.2.2 ------------------------------------------------------------------- */

typedef struct Weight { uint32_t freq; uint16_t symbol; } Weight;

static int compare_weights(const void *a, const void *b)
{
    const Weight *x = a, *y = b;

    if (x->freq != y->freq)
        return x->freq < y->freq ? -1 : 1;
    return x->symbol < y->symbol ? -1 : 1;
}

/*
 * Depths of a least tree over n >= 2 weights in ascending order, in place
 * (Moffat and Katajainen): w[i].freq becomes the depth of leaf i.
 */
static void tree_depths(Weight *w, int n)
{
    int leaf = 0, root = 0, next;

    for (next = 0; next < n - 1; next++) {          /* weights of inner nodes, then their parents */
        uint32_t sum = 0;
        for (int k = 0; k < 2; k++) {
            if (leaf >= n || (root < next && w[root].freq < w[leaf].freq)) {
                sum += w[root].freq;
                w[root++].freq = (uint32_t)next;
            } else {
                sum += w[leaf++].freq;
            }
        }
        w[next].freq = sum;
    }
    w[n - 2].freq = 0;
    for (next = n - 3; next >= 0; next--)           /* depths of inner nodes */
        w[next].freq = w[w[next].freq].freq + 1;
    int avail = 1, used = 0;
    uint32_t depth = 0;
    root = n - 2;
    next = n - 1;
    while (avail > 0) {                             /* depths of leaves */
        while (root >= 0 && w[root].freq == depth) {
            used++;
            root--;
        }
        while (avail > used) {
            w[next--].freq = depth;
            avail--;
        }
        avail = 2 * used;
        depth++;
        used = 0;
    }
}

/* How many codes of each length, none longer than `max`: too long ones become shorter, others longer, until they fit. */
static void limit_lengths(unsigned *count, unsigned max, unsigned longest)
{
    uint32_t total = 0;

    for (unsigned l = max + 1; l <= longest; l++)
        count[max] += count[l];
    for (unsigned l = max; l; l--)
        total += count[l] << (max - l);
    while (total > 1u << max) {
        count[max]--;
        for (unsigned l = max - 1; l; l--) {
            if (count[l]) {
                count[l]--;
                count[l + 1] += 2;
                break;
            }
        }
        total--;
    }
}

static unsigned reversed(unsigned bits, unsigned len)
{
    unsigned r = 0;

    for (unsigned i = 0; i < len; i++)
        r |= (bits >> i & 1) << (len - 1 - i);
    return r;
}

static void assign_bits(Code *c, unsigned n, const unsigned *count)
{
    unsigned next[MAX_BITS + 2] = { 0 }, code = 0;

    for (unsigned l = 1; l <= MAX_BITS; l++) {
        code = (code + (l > 1 ? count[l - 1] : 0)) << 1;
        next[l] = code;
    }
    for (unsigned s = 0; s < n; s++) {
        if (c->len[s])
            c->bits[s] = (uint16_t)reversed(next[c->len[s]]++, c->len[s]);
    }
}

static void make_code(Code *c, const uint32_t *freq, unsigned n, unsigned max)
{
    Weight w[LITLENS];
    unsigned count[LITLENS + 1] = { 0 }, used = 0, longest = 0;

    memset(c->len, 0, n);
    for (unsigned s = 0; s < n; s++) {
        if (freq[s])
            w[used++] = (Weight){ freq[s], (uint16_t)s };
    }
    for (unsigned s = 0; used < 2; s++) {       /* a code of one symbol is no tree; some inflates want two */
        if (!freq[s])
            w[used++] = (Weight){ 1, (uint16_t)s };
    }
    qsort(w, used, sizeof(*w), compare_weights);
    tree_depths(w, (int)used);
    for (unsigned i = 0; i < used; i++) {
        count[w[i].freq]++;
        longest = w[i].freq > longest ? w[i].freq : longest;
    }
    limit_lengths(count, max, longest);
    for (unsigned l = 1, i = used; l <= max; l++) {     /* the most frequent get the shortest */
        for (unsigned k = 0; k < count[l]; k++)
            c->len[w[--i].symbol] = (uint8_t)l;
    }
    assign_bits(c, n, count);
}

static void fixed_codes(Deflate *d)
{
    unsigned count[MAX_BITS + 1] = { [7] = 24, [8] = 152, [9] = 112 }, dists[MAX_BITS + 1] = { [5] = 32 };

    for (unsigned s = 0; s < LITLENS; s++)
        d->litlen.len[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
    memset(d->dist.len, 5, DISTS);
    assign_bits(&d->litlen, LITLENS, count);
    assign_bits(&d->dist, DISTS, dists);
}

/* ---- bits: 3.1.1 ---------------------------------------------------------------------- */

static inline void put(Deflate *d, uint64_t bits, unsigned n)
{
    d->acc |= bits << d->have;
    d->have += n;
}

/* Room for 48 more bits; there are 8 bytes behind `out`, which the block's cost was held against. */
static inline void spill(Deflate *d)
{
    uint64_t le = d->acc;

    memcpy(d->out, &le, 8);
    d->out += d->have >> 3;
    d->acc >>= d->have & ~7u;
    d->have &= 7;
}

static void spill_slowly(Deflate *d)
{
    for (; d->have >= 8; d->have -= 8, d->acc >>= 8)
        *d->out++ = (uint8_t)d->acc;
}

/* ---- one block: 3.2.3 ------------------------------------------------------------------ */

/* The lengths of both codes in runs, as symbols of the precode with their extra bits above: 3.2.7. */
static unsigned pack_lengths(const uint8_t *len, unsigned n, uint16_t *items, uint32_t *freq)
{
    unsigned made = 0;

    for (unsigned i = 0, run; i < n; i += run) {
        for (run = 1; i + run < n && len[i + run] == len[i]; run++)
            ;
        unsigned symbol = len[i], extra = 0;
        if (!len[i] && run >= 11) {
            run = run < 138 ? run : 138;
            symbol = 18;
            extra = run - 11;
        } else if (!len[i] && run >= 3) {
            run = run < 10 ? run : 10;
            symbol = 17;
            extra = run - 3;
        } else if (run >= 4) {          /* itself, and then the same again three to six times */
            items[made++] = symbol;
            freq[symbol]++;
            run = run < 7 ? run : 7;
            symbol = 16;
            extra = run - 1 - 3;
        } else {
            run = 1;
        }
        freq[symbol]++;
        items[made++] = (uint16_t)(symbol | extra << 5);
    }
    return made;
}

typedef struct Header {
    unsigned litlens, dists, precodes, items;
    uint16_t item[LITLENS + DISTS];
    uint64_t bits;
} Header;

static void make_header(Deflate *d, Header *h)
{
    uint8_t len[LITLENS + DISTS];
    uint32_t freq[PRECODES] = { 0 };
    static const uint8_t extra[PRECODES] = { [16] = 2, [17] = 3, [18] = 7 };

    for (h->litlens = 286; h->litlens > 257 && !d->litlen.len[h->litlens - 1]; h->litlens--)
        ;
    for (h->dists = 30; h->dists > 1 && !d->dist.len[h->dists - 1]; h->dists--)
        ;
    memcpy(len, d->litlen.len, h->litlens);
    memcpy(len + h->litlens, d->dist.len, h->dists);
    h->items = pack_lengths(len, h->litlens + h->dists, h->item, freq);
    make_code(&d->precode, freq, PRECODES, MAX_PRECODE_BITS);
    for (h->precodes = PRECODES; h->precodes > 4 && !d->precode.len[precode_order[h->precodes - 1]]; h->precodes--)
        ;
    h->bits = 14 + 3 * h->precodes;
    for (unsigned s = 0; s < PRECODES; s++)
        h->bits += (uint64_t)freq[s] * (d->precode.len[s] + extra[s]);
}

static uint64_t cost(const Deflate *d)
{
    uint64_t bits = 0;

    for (unsigned s = 0; s < 286; s++)
        bits += (uint64_t)d->litlen_freq[s] * (d->litlen.len[s] + (s > 256 ? len_extra[s - 257] : 0u));
    for (unsigned s = 0; s < 24; s++)
        bits += (uint64_t)d->dist_freq[s] * (d->dist.len[s] + dist_extra[s]);
    return bits;
}

static void put_header(Deflate *d, const Header *h)
{
    static const uint8_t extra[PRECODES] = { [16] = 2, [17] = 3, [18] = 7 };

    put(d, h->litlens - 257, 5);
    put(d, h->dists - 1, 5);
    put(d, h->precodes - 4, 4);
    spill(d);
    for (unsigned i = 0; i < h->precodes; i++) {
        put(d, d->precode.len[precode_order[i]], 3);
        spill(d);
    }
    for (unsigned i = 0; i < h->items; i++) {
        unsigned symbol = h->item[i] & 31;
        put(d, d->precode.bits[symbol], d->precode.len[symbol]);
        put(d, h->item[i] >> 5, extra[symbol]);
        spill(d);
    }
}

static void put_tokens(Deflate *d)
{
    const Code *litlen = &d->litlen, *dist = &d->dist;

    for (unsigned i = 0; i < d->tokens; i++) {
        uint32_t t = d->token[i];
        if (t < 256) {
            put(d, litlen->bits[t], litlen->len[t]);
            if (d->have > 32)
                spill(d);
            continue;
        }
        unsigned len = t >> 16, away = t & 0xffff, ls = d->len_symbol[len], ds = d->dist_symbol[away];
        if (d->have > 15)
            spill(d);
        put(d, litlen->bits[257 + ls], litlen->len[257 + ls]);
        put(d, len - len_base[ls], len_extra[ls]);
        put(d, dist->bits[ds], dist->len[ds]);
        put(d, away - dist_base[ds], dist_extra[ds]);
        spill(d);
    }
    put(d, litlen->bits[END_OF_BLOCK], litlen->len[END_OF_BLOCK]);
    spill(d);
}

/* 3.2.4: at most 65535 bytes in each. */
static bool put_stored(Deflate *d, const uint8_t *in, size_t len, bool last)
{
    size_t blocks = (len + 65534) / 65535;

    spill_slowly(d);
    if ((size_t)(d->end - d->out) < len + 5 * blocks + 2)
        return false;
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < 65535 ? len - at : 65535;
        put(d, last && at + n == len, 3);
        d->have = (d->have + 7) & ~7u;
        spill_slowly(d);
        uint8_t head[4] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8) };
        memcpy(d->out, head, 4);
        memcpy(d->out + 4, in + at, n);
        d->out += 4 + n;
    }
    return true;
}

/* The tokens so far, which are these bytes of the input. */
static bool put_block(Deflate *d, const uint8_t *in, size_t len, bool last)
{
    Header h;
    uint64_t stored = 8 * len + 40 * ((len + 65534) / 65535) + 8, own, fixed;

    d->litlen_freq[END_OF_BLOCK] = 1;
    fixed_codes(d);
    fixed = cost(d);
    make_code(&d->litlen, d->litlen_freq, 286, MAX_BITS);
    make_code(&d->dist, d->dist_freq, 30, MAX_BITS);
    make_header(d, &h);
    own = h.bits + cost(d);
    uint64_t least = own < fixed ? own : fixed;
    if (len && least + 3 >= stored)
        return put_stored(d, in, len, last);
    if ((least + 3 + d->have) / 8 + 16 > (uint64_t)(d->end - d->out))
        return false;
    put(d, last, 1);
    put(d, own < fixed ? 2 : 1, 2);
    spill(d);
    if (own < fixed)
        put_header(d, &h);
    else
        fixed_codes(d);
    put_tokens(d);
    return true;
}

/* ---- matches ----------------------------------------------------------------------------- */

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

static inline unsigned hash4(uint32_t v)
{
    return (v * 0x9E3779B1u) >> (32 - HASH_BITS);
}

static inline unsigned hash3(uint32_t v)
{
    return ((v << 8) * 0x9E3779B1u) >> (32 - HASH3_BITS);
}

typedef struct Match { unsigned len, away; } Match;

static inline unsigned common(const uint8_t *a, const uint8_t *b, unsigned from, unsigned max)
{
    unsigned n = from;

    for (; n + 8 <= max; n += 8) {
        uint64_t x = load64(a + n) ^ load64(b + n);
        if (x)
            return n + (unsigned)(__builtin_ctzll(x) >> 3);
    }
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* Enters the position and returns what is there from before: the chain of its four bytes, and of its three. */
static inline uint32_t enter(Deflate *d, const uint8_t *p, uint32_t pos, uint32_t *three)
{
    uint32_t v = load32(p), *h = &d->head[hash4(v)], *h3 = &d->head3[hash3(v)], was = *h;

    *three = *h3;
    *h = *h3 = pos;
    d->prev[pos % WINDOW] = was;
    return was;
}

/* The best match longer than `best`, of at most `max` bytes, along the chain. */
static inline Match search(const Deflate *d, const uint8_t *p, uint32_t pos, uint32_t link, uint32_t three, unsigned best,
                           unsigned max, unsigned depth)
{
    Match m = { 0, 0 };
    const uint32_t v = load32(p);

    if (best < 3 && pos - three <= WINDOW && !((load32(p - (pos - three)) ^ v) & 0xffffff))
        m = (Match){ 3, pos - three };
    best = best < 3 ? 3 : best;     /* the chain's have four at least */
    for (; depth && pos - link <= WINDOW; depth--) {
        const uint8_t *q = p - (pos - link);
        uint32_t next = d->prev[link % WINDOW];
        if (load32(q + best - 3) == load32(p + best - 3) && load32(q) == v) {
            unsigned n = common(q, p, 4, max);
            if (n > best) {
                best = n;
                m = (Match){ n, pos - link };
                if (n >= max || n >= NICE)
                    break;
            }
        }
        if (pos - next <= pos - link)       /* an entry of the chain that was overwritten */
            break;
        link = next;
    }
    return m;
}

/* Of how few different bytes is it made, in samples from all of it? Short matches are dearer than literals then. */
static unsigned least_match(const uint8_t *in, size_t len)
{
    size_t step = len > 4096 ? len / 4096 : 1;
    unsigned seen[256] = { 0 }, n = 0;

    for (size_t i = 0; i < len; i += step)
        seen[in[i]]++;
    for (unsigned i = 0; i < 256; i++)
        n += seen[i] > 4;
    return n < 6 ? 9 : n < 8 ? 8 : n < 10 ? 7 : n < 16 ? 6 : n < 45 ? 5 : n < 80 ? 4 : 3;
}

static inline void add_literal(Deflate *d, uint8_t c)
{
    d->token[d->tokens++] = c;
    d->litlen_freq[c]++;
}

static inline void add_match(Deflate *d, Match m)
{
    d->token[d->tokens++] = m.len << 16 | m.away;
    d->litlen_freq[257 + d->len_symbol[m.len]]++;
    d->dist_freq[d->dist_symbol[m.away]]++;
}

static inline int log2_of(unsigned n)
{
    return 31 - __builtin_clz(n);
}

/* Is the match a byte later worth the literal in front of it? */
static inline bool is_better(Match later, Match now)
{
    return later.len >= now.len &&
           4 * (int)(later.len - now.len) + log2_of(now.away) - log2_of(later.away) > 2;
}

typedef struct Walk {
    const uint8_t *in;
    size_t len, safe;           /* up to `safe` four bytes and more may be read and hashed */
    size_t at;
    unsigned least;
    size_t quiet;               /* bytes since the last match */
} Walk;

static inline Match find(Deflate *d, const Walk *w, size_t at, unsigned best, unsigned depth)
{
    uint32_t pos = d->base + (uint32_t)at, three, link;
    size_t left = w->len - at;

    if (at >= w->safe)
        return (Match){ 0, 0 };
    link = enter(d, w->in + at, pos, &three);
    return search(d, w->in + at, pos, link, three, best < 3 ? (w->least > 3 ? 3 : 2) : best,
                  left < MAX_MATCH ? (unsigned)left : MAX_MATCH, depth);
}

/* Positions inside of a match that was taken: found again later, but not looked up now. */
static inline void enter_inside(Deflate *d, const Walk *w, size_t from, size_t to)
{
    uint32_t three;

    for (; from < to && from < w->safe; from++)
        enter(d, w->in + from, d->base + (uint32_t)from, &three);
}

/* Where nothing matches fewer positions are looked at, the longer it lasts the fewer. */
static size_t skip_literals(Deflate *d, Walk *w)
{
    size_t n = 1 + (w->quiet > PATIENCE ? (w->quiet - PATIENCE) >> 8 : 0);

    n = n < 32 ? n : 32;
    n = n < w->len - w->at ? n : w->len - w->at;
    for (size_t i = 0; i < n && d->tokens < BLOCK_TOKENS; i++) {
        add_literal(d, w->in[w->at++]);
        w->quiet++;
    }
    return w->at;
}

static void one_match(Deflate *d, Walk *w, Match m)
{
    while (m.len < NICE && d->tokens < BLOCK_TOKENS) {
        Match later = find(d, w, w->at + 1, m.len - 1, DEPTH / 2);
        if (!later.len || !is_better(later, m)) {
            add_match(d, m);
            enter_inside(d, w, w->at + 2, w->at + m.len);
            w->at += m.len;
            return;
        }
        add_literal(d, w->in[w->at++]);
        m = later;
    }
    add_match(d, m);
    enter_inside(d, w, w->at + 1, w->at + m.len);
    w->at += m.len;
}

static void fill_block(Deflate *d, Walk *w)
{
    d->tokens = 0;
    memset(d->litlen_freq, 0, sizeof(d->litlen_freq));
    memset(d->dist_freq, 0, sizeof(d->dist_freq));
    while (w->at < w->len && d->tokens < BLOCK_TOKENS) {
        Match m = find(d, w, w->at, 0, DEPTH);
        if (m.len < w->least) {
            skip_literals(d, w);
            continue;
        }
        w->quiet = 0;
        one_match(d, w, m);
    }
}

size_t deflate_pack(Deflate *d, const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
    Walk w = { .in = in, .len = len, .safe = len > LOOK_AHEAD ? len - LOOK_AHEAD : 0, .least = least_match(in, len) };

    if (len > 16u << 20)
        return 0;
    if (d->base > UINT32_MAX - (32u << 20)) {       /* once in 4 GiB */
        memset(d->head, 0, sizeof(d->head));
        memset(d->head3, 0, sizeof(d->head3));
        d->base = WINDOW + 1;
    }
    d->out = out;
    d->end = out + out_len;
    d->acc = 0;
    d->have = 0;
    do {
        size_t from = w.at;
        fill_block(d, &w);
        if (!put_block(d, in + from, w.at - from, w.at == len))
            return 0;
    } while (w.at < len);
    d->base += (uint32_t)len + WINDOW + 1;
    d->have = (d->have + 7) & ~7u;
    spill_slowly(d);
    return (size_t)(d->out - out);
}
