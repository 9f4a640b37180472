/* SPDX-License-Identifier: MIT */
/*
 * --list: what a server has to offer, in qemu-nbd's words.
 */
#include <inttypes.h>
#include <stdio.h>

#include "block/nbd/client.h"
#include "cmd/nbd/nbd.h"

#define SECOND INT64_C(1000000000)
#define PATIENCE 30                 /* seconds for connecting, and for all of the list */

static void print_flags(uint16_t flags)
{
    static const struct { uint16_t bit; const char *name; } rows[] = {
        { NBD_FLAG_READ_ONLY, "readonly" }, { NBD_FLAG_SEND_FLUSH, "flush" }, { NBD_FLAG_SEND_FUA, "fua" },
        { NBD_FLAG_ROTATIONAL, "rotational" }, { NBD_FLAG_SEND_TRIM, "trim" }, { NBD_FLAG_SEND_WRITE_ZEROES, "zeroes" },
        { NBD_FLAG_SEND_DF, "df" }, { NBD_FLAG_CAN_MULTI_CONN, "multi" }, { NBD_FLAG_SEND_RESIZE, "resize" },
        { NBD_FLAG_SEND_CACHE, "cache" }, { NBD_FLAG_SEND_FAST_ZERO, "fast-zero" },
        { NBD_FLAG_BLOCK_STATUS_PAYLOAD, "block-status-payload" },
    };

    printf("  flags: 0x%x (", flags);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (flags & rows[i].bit)
            printf(" %s", rows[i].name);
    printf(" )\n");
}

/* Without what would move the cursor or end the line. */
static char *printable(const char *text)
{
    char *s = g_utf8_make_valid(text, -1);

    for (char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    return s;
}

static void print_export(const NbdInfo *i)
{
    g_autofree char *name = printable(i->name);

    printf(" export: '%s'\n", name);
    if (i->description) {
        g_autofree char *text = printable(i->description);
        printf("  description: %s\n", text);
    }
    if (i->flags & NBD_FLAG_HAS_FLAGS) {
        printf("  size:  %" PRIu64 "\n", i->size);
        print_flags(i->flags);
    }
    if (i->extended)
        printf("  transaction size: 64-bit\n");
    if (i->max_payload) {
        printf("  min block: %u\n", i->min_block);
        printf("  opt block: %u\n", i->opt_block);
        printf("  max block: %u\n", i->max_payload);
    }
    if (i->contexts && i->contexts[0]) {
        printf("  available meta contexts: %u\n", g_strv_length(i->contexts));
        for (char **c = i->contexts; *c; c++) {
            g_autofree char *text = printable(*c);
            printf("   %s\n", text);
        }
    }
}

Err *nbd_tool_list(NbdTool *t)
{
    int64_t deadline = loop_now() + PATIENCE * SECOND;
    SocketAddr a = { 0 };
    NbdInfo *list;
    unsigned n;
    Wire *wire;
    int fd;

    TRY(nbd_address(&t->a, &a));
    g_autofree char *text = socket_addr_text(&a), *host = g_strdup(a.host);
    Err *e = socket_connect(&a, deadline, NULL, &fd);
    socket_addr_clear(&a);
    if (e)
        return e;
    TRY(wire_new(t->loop, fd, &wire));
    wire_deadline(wire, deadline);
    NbdWish w = { .export = "", .tls = t->tls, .tls_hostname = t->a.tls_hostname ? t->a.tls_hostname : host };
    e = nbd_list(wire, &w, &list, &n);
    wire_free(wire);
    if (e)
        return err_in(e, "%s", text);
    printf("exports available: %u\n", n);
    for (unsigned i = 0; i < n; i++)
        print_export(&list[i]);
    nbd_list_free(list, n);
    return NULL;
}
