/* SPDX-License-Identifier: MIT */
/* The framing of gdb's protocol: packets however they are cut, checksums, escapes, sizes; the pieces of a packet. */
#include "gdb/packet.h"
#include "tests/unit/test.h"

static PacketParser parser;

/* What comes of text, as "+", "-", "I" (interrupt), "B" (bad), "L" (too long), "[data]"; `cut` bytes at a time. */
static char *events(const char *text, size_t len, size_t cut)
{
    GString *s = g_string_new(NULL);

    packet_parser_restart(&parser);
    for (size_t i = 0; i < len; i += cut) {
        const uint8_t *at = (const uint8_t *)text + i, *end = at + MIN(cut, len - i);

        while (at < end) {
            switch (packet_parse(&parser, &at, end)) {
            case PACKET_NOTHING: break;
            case PACKET_HERE: g_string_append_printf(s, "[%s]", parser.data->data); break;
            case PACKET_TOO_LONG: g_string_append_c(s, 'L'); break;
            case PACKET_BAD: g_string_append_c(s, 'B'); break;
            case PACKET_ACK: g_string_append_c(s, '+'); break;
            case PACKET_NAK: g_string_append_c(s, '-'); break;
            case PACKET_INTERRUPT: g_string_append_c(s, 'I'); break;
            }
        }
    }
    return g_string_free(s, false);
}

static void same(const char *text, const char *want)
{
    for (size_t cut = 1; cut <= strlen(text); cut++) {
        g_autofree char *got = events(text, strlen(text), cut);

        CHECK_STR(got, want);
    }
}

static void test_packets(void)
{
    same("$?#3f", "[?]");
    same("+$g#67-$#00", "+[g]-[]");
    same("\x03+$?#3F\x03", "I+[?]I");
    same("noise#00$?#3f noise", "[?]");
    same("$?#3e$?#zz$?#3f", "BB[?]");
    same("$abc$?#3f", "[?]");               /* the first was never finished */
    same("$X}]#32", "[X}]");                /* '}' escapes itself */
    same("$\x03#03", "[\x03]");             /* no interrupt inside */
    same("$m80", "");
}

static void test_long(void)
{
    GByteArray *a = g_byte_array_new();
    g_autofree uint8_t *much = g_malloc(PACKET_MAX + 1);

    memset(much, 'x', PACKET_MAX + 1);
    packet_frame(a, much, PACKET_MAX);
    packet_frame(a, much, PACKET_MAX + 1);
    packet_frame(a, "OK", 2);
    g_autofree char *got = events((char *)a->data, a->len, 1000);
    CHECK_EQ(strlen(got), PACKET_MAX + 2 + 1 + 4);
    CHECK_STR(got + PACKET_MAX + 2, "L[OK]");
    g_byte_array_free(a, true);
}

/* Whatever the bytes, what was framed is read again. */
static void test_round(void)
{
    uint8_t all[256];
    GByteArray *a = g_byte_array_new();

    for (int i = 0; i < 256; i++)
        all[i] = i;
    packet_frame(a, all, sizeof(all));
    const uint8_t *at = a->data;
    packet_parser_restart(&parser);
    CHECK_EQ(packet_parse(&parser, &at, a->data + a->len), PACKET_HERE);
    CHECK_EQ(parser.data->len, 256);
    CHECK(!memcmp(parser.data->data, all, 256));
    g_byte_array_free(a, true);
}

static PacketText text(const char *s)
{
    return (PacketText){ s, s + strlen(s) };
}

static void test_pieces(void)
{
    PacketText t = text("Cont;1f,g");
    uint64_t v;
    uint8_t b[3];

    CHECK(!take_char(&t, 'X') && !take_word(&t, "Contents") && take_word(&t, "Cont") && take_char(&t, ';'));
    CHECK(take_hex(&t, &v) && v == 0x1f && take_char(&t, ',') && !take_hex(&t, &v) && !text_over(&t));
    t = text("ffffffffffffffff");
    CHECK(take_hex(&t, &v) && v == UINT64_MAX && text_over(&t) && !take_char(&t, 'f') && !take_hex(&t, &v));
    t = text("10000000000000000");
    CHECK(!take_hex(&t, &v));
    t = text("01ff2");
    CHECK(take_bytes(&t, b, 2) && b[0] == 1 && b[1] == 0xff && !take_bytes(&t, b, 1));
    t = text("0x");
    CHECK(!take_bytes(&t, b, 1));
    GString *s = g_string_new(NULL);
    put_bytes(s, "\x01\xab", 2);
    CHECK_STR(s->str, "01ab");
    g_string_free(s, true);
}

int main(void)
{
    packet_parser_init(&parser);
    RUN(test_packets);
    RUN(test_long);
    RUN(test_round);
    RUN(test_pieces);
    packet_parser_clear(&parser);
    return test_end();
}
