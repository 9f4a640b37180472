/* SPDX-License-Identifier: MIT */
/*
 * Integer kernels: SHA-256 (FIPS 180-4), quicksort through a compare function,
 * integer matrix product, an LZ77 coder, and a mix of linked list, small
 * matrix, state machine and CRC in the spirit of what small controllers do.
 */
#include "tests/bench/bench.h"

/* --- sha256 ------------------------------------------------------------------------- */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static NOINLINE void sha_block(uint32_t h[8], const uint8_t *m)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)m[4 * i] << 24 | (uint32_t)m[4 * i + 1] << 16 |
               (uint32_t)m[4 * i + 2] << 8 | m[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) +
               (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    for (int i = 0; i < 8; i++)
        v[i] = h[i];
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) +
                      ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
        uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        v[7] = v[6], v[6] = v[5], v[5] = v[4], v[4] = v[3] + t1;
        v[3] = v[2], v[2] = v[1], v[1] = v[0], v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

static uint64_t sha256(uint64_t reps)
{
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t block[64];
    for (int i = 0; i < 64; i++)
        block[i] = (uint8_t)(i * 7);
    for (; reps; reps--) {
        sha_block(h, block);
        block[reps & 63] ^= (uint8_t)h[0];
    }
    return (uint64_t)h[0] << 32 | h[7];
}

/* --- qsort --------------------------------------------------------------------------- */

#define SORT_N 4096

typedef int (*Compare)(const uint32_t *, const uint32_t *);

static NOINLINE int compare_numbers(const uint32_t *a, const uint32_t *b)
{
    return (*a > *b) - (*a < *b);
}

static void sort_insert(uint32_t *a, long n, Compare cmp)
{
    for (long i = 1; i < n; i++) {
        uint32_t x = a[i];
        long j = i;
        for (; j > 0 && cmp(&a[j - 1], &x) > 0; j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

static NOINLINE void sort_range(uint32_t *a, long n, Compare cmp)
{
    while (n > 12) {
        uint32_t pivot = a[n / 2];
        long i = 0, j = n - 1;
        while (i <= j) {
            while (cmp(&a[i], &pivot) < 0)
                i++;
            while (cmp(&a[j], &pivot) > 0)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort_range(a, j + 1, cmp);
        a += i;
        n -= i;
    }
    sort_insert(a, n, cmp);
}

static uint64_t quicksort(uint64_t reps)
{
    static uint32_t a[SORT_N];
    uint64_t seed = 1, sum = 0;
    Compare cmp = compare_numbers;
    HIDE(cmp);
    for (; reps; reps--) {
        for (int i = 0; i < SORT_N; i++)
            a[i] = (uint32_t)random_next(&seed);
        sort_range(a, SORT_N, cmp);
        for (int i = 1; i < SORT_N; i++)
            sum += a[i - 1] <= a[i] ? a[i] ^ (uint32_t)i : 0x1000000000u;
    }
    return sum;
}

/* --- matint -------------------------------------------------------------------------- */

#define MAT_N 40

typedef int32_t Matrix[MAT_N][MAT_N];

static NOINLINE void mat_multiply(Matrix c, Matrix a, Matrix b)
{
    for (int i = 0; i < MAT_N; i++)
        for (int j = 0; j < MAT_N; j++) {
            int32_t s = 0;
            for (int k = 0; k < MAT_N; k++)
                s += a[i][k] * b[k][j];
            c[i][j] = s >> 3;
        }
}

static uint64_t matint(uint64_t reps)
{
    static Matrix m[2], b;
    uint64_t seed = 2, sum = 0;
    for (int i = 0; i < MAT_N * MAT_N; i++) {
        m[0][i / MAT_N][i % MAT_N] = (int32_t)(random_next(&seed) & 0xff);
        b[i / MAT_N][i % MAT_N] = (int32_t)(random_next(&seed) & 0xff);
    }
    int from = 0;
    for (; reps; reps--) {
        mat_multiply(m[!from], m[from], b);
        from = !from;
        sum = mix(sum, (uint32_t)m[from][reps % MAT_N][7]);
    }
    return sum;
}

/* --- lz -------------------------------------------------------------------------------- */

#define LZ_N 16384
#define LZ_HASH 4096

static uint8_t lz_text[LZ_N], lz_packed[LZ_N * 2], lz_back[LZ_N];

static uint8_t *lz_number(uint8_t *o, uint32_t v)
{
    for (uint32_t unit = 1000; unit; unit /= 10)
        *o++ = (uint8_t)('0' + v / unit % 10);
    return o;
}

/* Lines of a log: long repeats, with small differences. */
static void lz_prepare(void)
{
    static const char *const parts[4] = {
        " gate daemon: accepted connection from host ", " gate daemon: closed session of user ",
        " gate kernel: packet dropped at port ", " gate cron: job finished with status ",
    };
    uint64_t seed = 3;
    uint8_t *o = lz_text;
    for (uint32_t line = 0; o < lz_text + LZ_N - 64; line++) {
        uint64_t r = random_next(&seed);
        o = lz_number(o, line);
        for (const char *p = parts[r & 3]; *p; p++)
            *o++ = (uint8_t)*p;
        o = lz_number(o, (uint32_t)(r >> 8 & 0xff));
        *o++ = '\n';
    }
}

static inline uint32_t lz_word(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Packs n bytes as literal bytes (0, byte) and matches (length, distance:16). */
static NOINLINE size_t lz_pack(uint8_t *out, const uint8_t *in, int n)
{
    static int32_t last[LZ_HASH];
    uint8_t *o = out;
    for (int i = 0; i < LZ_HASH; i++)
        last[i] = -1;
    for (int i = 0; i < n;) {
        int len = 0, at = -1;
        if (i + 4 <= n) {
            uint32_t h = lz_word(in + i) * 2654435761u >> 20;
            at = last[h];
            last[h] = i;
            if (at >= 0 && i - at < 65536)
                while (len < 255 && i + len < n && in[at + len] == in[i + len])
                    len++;
        }
        if (len >= 4) {
            *o++ = (uint8_t)len;
            *o++ = (uint8_t)(i - at);
            *o++ = (uint8_t)((i - at) >> 8);
            i += len;
        } else {
            *o++ = 0;
            *o++ = in[i++];
        }
    }
    return (size_t)(o - out);
}

static NOINLINE size_t lz_unpack(uint8_t *out, const uint8_t *in, size_t n)
{
    uint8_t *o = out;
    for (const uint8_t *end = in + n; in < end;) {
        int len = *in++;
        if (len == 0) {
            *o++ = *in++;
            continue;
        }
        const uint8_t *from = o - (in[0] | in[1] << 8);
        in += 2;
        while (len--)
            *o++ = *from++;
    }
    return (size_t)(o - out);
}

static uint64_t lz(uint64_t reps)
{
    uint64_t sum = 0;
    for (; reps; reps--) {
        size_t n = lz_pack(lz_packed, lz_text, LZ_N);
        sum = mix(sum, n);
        sum = mix(sum, lz_unpack(lz_back, lz_packed, n));
        for (int i = 0; i < LZ_N; i += 61)
            sum = mix(sum, lz_back[i]);
    }
    return sum;
}

/* --- mix: list, matrix, state machine, crc ------------------------------------------- */

#define LIST_N 96
#define SMALL_N 9

typedef struct Node Node;
struct Node {
    Node *next;
    int16_t value, index;
};

static Node nodes[LIST_N];

static uint16_t crc16(uint16_t crc, uint16_t data)
{
    for (int i = 0; i < 16; i++, data >>= 1) {
        bool bit = (crc ^ data) & 1;
        crc >>= 1;
        if (bit)
            crc ^= 0xa001;
    }
    return crc;
}

static Node *list_make(uint64_t *seed)
{
    for (int i = 0; i < LIST_N; i++)
        nodes[i] = (Node){ i + 1 < LIST_N ? &nodes[i + 1] : NULL,
                           (int16_t)random_next(seed), (int16_t)i };
    return nodes;
}

static NOINLINE Node *list_reverse(Node *n)
{
    Node *out = NULL;
    while (n) {
        Node *next = n->next;
        n->next = out;
        out = n;
        n = next;
    }
    return out;
}

static NOINLINE const Node *list_find(const Node *n, int16_t value)
{
    while (n && (n->value & 0xff) != (value & 0xff))
        n = n->next;
    return n;
}

static NOINLINE int by_value(const Node *a, const Node *b)
{
    return a->value - b->value;
}

static NOINLINE int by_index(const Node *a, const Node *b)
{
    return a->index - b->index;
}

/* Merges runs of 1, 2, 4 ... nodes until one run is left. */
static NOINLINE Node *list_sort(Node *list, int (*cmp)(const Node *, const Node *))
{
    for (int run = 1;; run *= 2) {
        Node *in = list, **tail = &list;
        int merges = 0;
        list = NULL;
        for (; in; merges++) {
            Node *a = in;
            int an = 0, bn = run;
            for (; an < run && in; an++)
                in = in->next;
            while (an > 0 || (bn > 0 && in)) {
                Node **from = &in;
                if (an > 0 && (bn == 0 || !in || cmp(a, in) <= 0))
                    from = &a;
                Node *n = *from;
                *from = n->next;
                *(from == &a ? &an : &bn) -= 1;
                *tail = n;
                tail = &n->next;
            }
        }
        *tail = NULL;
        if (merges <= 1)
            return list;
    }
}

static uint16_t list_work(uint64_t *seed, uint16_t crc)
{
    Node *list = list_make(seed);
    for (int16_t i = 0; i < 8; i++) {
        const Node *n = list_find(list, (int16_t)(i * 31));
        crc = crc16(crc, (uint16_t)(n ? n->index : -1));
        list = list_reverse(list);
    }
    list = list_sort(list, by_value);
    crc = crc16(crc, (uint16_t)list->value);
    list = list_sort(list, by_index);
    return crc16(crc, (uint16_t)list->next->value);
}

static NOINLINE uint16_t small_matrix(uint64_t *seed, uint16_t crc)
{
    int16_t a[SMALL_N][SMALL_N], b[SMALL_N][SMALL_N];
    for (int i = 0; i < SMALL_N * SMALL_N; i++) {
        uint64_t r = random_next(seed);
        a[i / SMALL_N][i % SMALL_N] = (int16_t)(r & 0x7ff);
        b[i / SMALL_N][i % SMALL_N] = (int16_t)(r >> 20 & 0x7ff);
    }
    for (int i = 0; i < SMALL_N; i++)
        for (int j = 0; j < SMALL_N; j++) {
            int32_t s = 0;
            for (int k = 0; k < SMALL_N; k++) {
                int32_t p = a[i][k] * b[k][j];
                s += (p >> 2 & 15) * (p >> 5 & 127);
            }
            crc = crc16(crc, (uint16_t)(s ^ s >> 16));
        }
    return crc;
}

enum { S_START, S_SIGN, S_INT, S_FRACTION, S_EXP, S_EXP_SIGN, S_EXP_INT, S_BAD, STATES };

static int next_state(int s, char c)
{
    bool digit = c >= '0' && c <= '9', sign = c == '+' || c == '-';
    switch (s) {
    case S_START:
        return digit ? S_INT : sign ? S_SIGN : c == '.' ? S_FRACTION : S_BAD;
    case S_SIGN:
        return digit ? S_INT : c == '.' ? S_FRACTION : S_BAD;
    case S_INT:
        return digit ? S_INT : c == '.' ? S_FRACTION : c == 'e' ? S_EXP : S_BAD;
    case S_FRACTION:
        return digit ? S_FRACTION : c == 'e' ? S_EXP : S_BAD;
    case S_EXP:
        return digit ? S_EXP_INT : sign ? S_EXP_SIGN : S_BAD;
    case S_EXP_SIGN: case S_EXP_INT:
        return digit ? S_EXP_INT : S_BAD;
    default:
        return S_BAD;
    }
}

static NOINLINE uint16_t state_machine(uint64_t *seed, uint16_t crc)
{
    static const char *const parts[8] = {
        "5012", "1234", "-874", "+122", "35.54400", ".1234500", "-110.700e+5", "T0.3e-1F",
    };
    uint32_t ends[STATES] = { 0 };
    for (int n = 0; n < 40; n++) {
        int s = S_START;
        for (const char *p = parts[random_next(seed) & 7]; *p; p++) {
            s = next_state(s, *p);
            ends[s] += s == S_BAD;
        }
        ends[s]++;
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc, (uint16_t)ends[i]);
    return crc;
}

static uint64_t core_mix(uint64_t reps)
{
    uint64_t seed = 4, sum = 0;
    uint16_t crc = 0;
    for (; reps; reps--) {
        crc = list_work(&seed, crc);
        crc = small_matrix(&seed, crc);
        crc = state_machine(&seed, crc);
        sum = mix(sum, crc);
    }
    return sum;
}

const Kernel integer_kernels[] = {
    { "sha256", "integer", "block",    50000, sha256, NULL },
    { "qsort",  "integer", "sort",        30, quicksort, NULL },
    { "matint", "integer", "product",    300, matint, NULL },
    { "lz",     "integer", "16KiB",      300, lz, lz_prepare },
    { "mix",    "integer", "round",      600, core_mix, NULL },
    { 0 }
};
