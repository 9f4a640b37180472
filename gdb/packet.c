/* SPDX-License-Identifier: MIT */
/*
 * Framing. Packets from gdb are not run-length encoded (only replies may be, and
 * ours are not); '}' escapes the next byte wherever it stands.
 */
#include "gdb/packet.h"

#include <string.h>

enum { INTERRUPT = 3, ESCAPE = '}', ESCAPE_XOR = 0x20 };

void packet_parser_init(PacketParser *p)
{
    *p = (PacketParser){ .data = g_byte_array_new() };
}

void packet_parser_clear(PacketParser *p)
{
    g_byte_array_free(p->data, true);
    p->data = NULL;
}

void packet_parser_restart(PacketParser *p)
{
    g_byte_array_set_size(p->data, 0);
    p->state = BETWEEN;
}

static void begin(PacketParser *p)
{
    g_byte_array_set_size(p->data, 0);
    p->sum = 0;
    p->too_long = p->bad = false;
    p->state = INSIDE;
}

static void add(PacketParser *p, uint8_t c)
{
    if (p->data->len < PACKET_MAX)
        g_byte_array_append(p->data, &c, 1);
    else
        p->too_long = true;
}

static void inside(PacketParser *p, uint8_t c)
{
    switch (c) {
    case '#':
        p->state = SUM_1;
        return;
    case '$':
        begin(p);               /* the rest of the one before never came */
        return;
    case ESCAPE:
        p->state = ESCAPED;
        break;
    default:
        add(p, c);
    }
    p->sum += c;
}

static void sum_digit(PacketParser *p, uint8_t c)
{
    int d = g_ascii_xdigit_value(c);

    p->bad |= d < 0;
    p->said = p->said << 4 | (d & 15);
}

static PacketEvent end_of(PacketParser *p)
{
    static const uint8_t nul = 0;

    p->state = BETWEEN;
    if (p->bad || p->said != p->sum)
        return PACKET_BAD;
    if (p->too_long)
        return PACKET_TOO_LONG;
    g_byte_array_append(p->data, &nul, 1);
    g_byte_array_set_size(p->data, p->data->len - 1);
    return PACKET_HERE;
}

static PacketEvent between(PacketParser *p, uint8_t c)
{
    switch (c) {
    case '$': begin(p); return PACKET_NOTHING;
    case '+': return PACKET_ACK;
    case '-': return PACKET_NAK;
    case INTERRUPT: return PACKET_INTERRUPT;
    default: return PACKET_NOTHING;
    }
}

PacketEvent packet_parse(PacketParser *p, const uint8_t **at, const uint8_t *end)
{
    PacketEvent e = PACKET_NOTHING;

    while (e == PACKET_NOTHING && *at < end) {
        uint8_t c = *(*at)++;

        switch (p->state) {
        case BETWEEN:
            e = between(p, c);
            break;
        case INSIDE:
            inside(p, c);
            break;
        case ESCAPED:
            add(p, c ^ ESCAPE_XOR);
            p->sum += c;
            p->state = INSIDE;
            break;
        case SUM_1:
            sum_digit(p, c);
            p->state = SUM_2;
            break;
        case SUM_2:
            sum_digit(p, c);
            e = end_of(p);
            break;
        }
    }
    return e;
}

void packet_frame(GByteArray *out, const void *data, size_t len)
{
    const uint8_t *d = data;
    uint8_t sum = 0;
    char tail[4];

    g_byte_array_append(out, (const uint8_t *)"$", 1);
    for (size_t i = 0; i < len; i++) {
        uint8_t pair[2] = { ESCAPE, d[i] ^ ESCAPE_XOR };
        bool escape = d[i] == '$' || d[i] == '#' || d[i] == ESCAPE || d[i] == '*';

        sum += escape ? pair[0] + pair[1] : d[i];
        g_byte_array_append(out, escape ? pair : &d[i], escape ? 2 : 1);
    }
    g_snprintf(tail, sizeof(tail), "#%02x", sum);
    g_byte_array_append(out, (const uint8_t *)tail, 3);
}

/* ---- pieces */

bool take_char(PacketText *t, char c)
{
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

bool take_word(PacketText *t, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n))
        return false;
    t->at += n;
    return true;
}

bool take_hex(PacketText *t, uint64_t *out)
{
    const char *from = t->at;
    uint64_t v = 0;

    for (int d; t->at < t->end && (d = g_ascii_xdigit_value(*t->at)) >= 0; t->at++) {
        if (v >> 60)
            return false;
        v = v << 4 | d;
    }
    *out = v;
    return t->at > from;
}

bool take_bytes(PacketText *t, uint8_t *out, size_t n)
{
    if ((size_t)(t->end - t->at) / 2 < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = g_ascii_xdigit_value(t->at[2 * i]), lo = g_ascii_xdigit_value(t->at[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = hi << 4 | lo;
    }
    t->at += 2 * n;
    return true;
}

void put_bytes(GString *s, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;

    for (size_t i = 0; i < n; i++) {
        g_string_append_c(s, digits[b[i] >> 4]);
        g_string_append_c(s, digits[b[i] & 15]);
    }
}
