/* SPDX-License-Identifier: MIT */
/*
 * Packets of gdb's remote protocol (its manual, appendix E.1): bytes to packets
 * and back. Knows no machine.
 */
#ifndef GDB_PACKET_H
#define GDB_PACKET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { PACKET_MAX = 128 * 1024 };       /* bytes of a packet's data, once escapes are undone */

typedef enum PacketEvent {
    PACKET_NOTHING,         /* all bytes are used up */
    PACKET_HERE,            /* a packet, in parser->data */
    PACKET_TOO_LONG,        /* one that was longer than PACKET_MAX: gone */
    PACKET_BAD,             /* its checksum is wrong */
    PACKET_ACK, PACKET_NAK,
    PACKET_INTERRUPT,       /* byte 3 between packets */
} PacketEvent;

typedef struct PacketParser {
    enum { BETWEEN, INSIDE, ESCAPED, SUM_1, SUM_2 } state;
    GByteArray *data;       /* followed by a NUL that does not count */
    uint8_t sum, said;
    bool too_long, bad;
} PacketParser;

void packet_parser_init(PacketParser *p);
void packet_parser_clear(PacketParser *p);
void packet_parser_restart(PacketParser *p);    /* another sender: what was begun is forgotten */
/* Uses up bytes of [*at, end) until something happened. */
PacketEvent packet_parse(PacketParser *p, const uint8_t **at, const uint8_t *end);

/* "$data#sum" of a reply, appended to out; binary data is escaped. */
void packet_frame(GByteArray *out, const void *data, size_t len);

/* ---- pieces of a packet: text that ends at `end` */
typedef struct PacketText { const char *at, *end; } PacketText;
/* Skips c (or the word) if it comes next. */
bool take_char(PacketText *t, char c);
bool take_word(PacketText *t, const char *word);
/* Hexadecimal digits, at least one, of at most 64 bits. */
bool take_hex(PacketText *t, uint64_t *out);
/* n bytes as 2n digits. */
bool take_bytes(PacketText *t, uint8_t *out, size_t n);
static inline bool text_over(const PacketText *t) { return t->at == t->end; }
void put_bytes(GString *s, const void *bytes, size_t n);        /* as digits */

#endif
