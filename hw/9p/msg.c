/* SPDX-License-Identifier: MIT */
/*
 * Messages of 9P: little-endian numbers, strings with 16 bits of length in
 * front (intro(5) of Plan 9's manual). Nothing is read or written beyond the end.
 */
#include <string.h>

#include "hw/9p/p9-priv.h"

static uint64_t in_number(P9In *m, unsigned bytes)
{
    uint64_t v = 0;

    if (m->len - m->at < bytes) {
        m->bad = true;
        m->at = m->len;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)m->p[m->at + i] << 8 * i;
    m->at += bytes;
    return v;
}

uint8_t p9_in_u8(P9In *m) { return in_number(m, 1); }
uint16_t p9_in_u16(P9In *m) { return in_number(m, 2); }
uint32_t p9_in_u32(P9In *m) { return in_number(m, 4); }
uint64_t p9_in_u64(P9In *m) { return in_number(m, 8); }

/* The bytes move over their length, which leaves room for the NUL. */
char *p9_in_str(P9In *m)
{
    static char empty[1];
    uint32_t n = p9_in_u16(m);

    if (m->bad || m->len - m->at < n || memchr(m->p + m->at, 0, n)) {
        m->bad = true;
        return empty;
    }
    char *s = (char *)m->p + m->at - 1;
    memmove(s, s + 1, n);
    s[n] = 0;
    m->at += n;
    return s;
}

static void out_number(P9Out *m, uint64_t v, unsigned bytes)
{
    if (m->max - m->len < bytes) {
        m->full = true;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        m->p[m->len + i] = v >> 8 * i;
    m->len += bytes;
}

void p9_out_u8(P9Out *m, uint8_t v) { out_number(m, v, 1); }
void p9_out_u16(P9Out *m, uint16_t v) { out_number(m, v, 2); }
void p9_out_u32(P9Out *m, uint32_t v) { out_number(m, v, 4); }
void p9_out_u64(P9Out *m, uint64_t v) { out_number(m, v, 8); }

void p9_out_str(P9Out *m, const char *s)
{
    size_t n = strlen(s);

    if (n > UINT16_MAX || m->max - m->len < 2 + n) {
        m->full = true;
        return;
    }
    p9_out_u16(m, n);
    memcpy(m->p + m->len, s, n);
    m->len += n;
}

void p9_out_qid(P9Out *m, const P9Qid *q)
{
    p9_out_u8(m, q->type);
    p9_out_u32(m, q->version);
    p9_out_u64(m, q->path);
}
