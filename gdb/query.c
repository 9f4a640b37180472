/* SPDX-License-Identifier: MIT */
/*
 * Packets q and Q: what we can do, threads, objects that gdb reads in pieces,
 * the monitor, and qemu's own: single-step bits and physical memory
 * (Qqemu.sstep, Qqemu.PhyMemMode).
 */
#include <string.h>

#include "gdb/gdb-priv.h"

/* ---- what we can do */

static bool has_feature(const char *list, const char *name)
{
    g_auto(GStrv) words = g_strsplit(list, ";", -1);

    return g_strv_contains((const char *const *)words, name);
}

static void query_supported(Gdb *g, PacketText *t)
{
    g_autofree char *theirs = g_strndup(t->at, t->end - t->at);

    g->multiprocess = has_feature(theirs, "multiprocess+");
    g->swbreak = has_feature(theirs, "swbreak+");
    g->hwbreak = has_feature(theirs, "hwbreak+");
    reply_format(g, "PacketSize=%x;qXfer:features:read+;qXfer:memory-map:read+;qXfer:threads:read+;QStartNoAckMode+;"
                    "vContSupported+;swbreak+;hwbreak+;multiprocess+;binary-upload+;qqemu.sstepbits+;qqemu.PhyMemMode+",
                 PACKET_MAX - 16);
}

/* ---- threads */

static void list_threads(Gdb *g)
{
    GString *s = g_string_new("m");

    for (int i = 0; i < g->vm->nvcpus; i++) {
        if (i)
            g_string_append_c(s, ',');
        put_thread(g, s, i);
    }
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

static char *thread_text(Gdb *g, int index)
{
    return g_strdup_printf("CPU#%d [%s]", index, atomic_load(&gdb_vcpu(g, index)->halted) ? "halted" : "running");
}

static void thread_extra(Gdb *g, PacketText *t)
{
    int index;

    if (!take_thread(g, t, &index) || index < 0) {
        reply_error(g, 22);
        return;
    }
    g_autofree char *text = thread_text(g, index);
    GString *s = g_string_new(NULL);
    put_bytes(s, text, strlen(text));
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

static char *threads_xml(Gdb *g)
{
    GString *s = g_string_new("<?xml version=\"1.0\"?>\n<threads>\n");

    for (int i = 0; i < g->vm->nvcpus; i++) {
        g_autofree char *text = thread_text(g, i);

        g_string_append(s, "<thread id=\"");
        put_thread(g, s, i);
        g_string_append_printf(s, "\" core=\"%d\" name=\"CPU#%d\">%s</thread>\n", i, i, text);
    }
    g_string_append(s, "</threads>\n");
    return g_string_free(s, false);
}

/* ---- objects, read in pieces: "OFFSET,LENGTH" */

static void piece(Gdb *g, PacketText *t, const char *text, size_t size)
{
    uint64_t off, n;

    if (!take_hex(t, &off) || !take_char(t, ',') || !take_hex(t, &n) || !text_over(t)) {
        reply_error(g, 22);
        return;
    }
    off = MIN(off, size);
    n = MIN(n, (uint64_t)PACKET_MAX / 2);
    bool more = n < size - off;
    GString *s = g_string_new(more ? "m" : "l");
    g_string_append_len(s, text + off, more ? n : size - off);
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

static void transfer(Gdb *g, PacketText *t)
{
    g_autofree char *made = NULL;

    if (take_word(t, "features:read:target.xml:")) {
        const GString *s = target_xml(g);

        piece(g, t, s->str, s->len);
    } else if (take_word(t, "features:read:")) {
        reply(g, "E00");
    } else if (take_word(t, "memory-map:read::")) {
        made = memory_map_xml(g);
        piece(g, t, made, strlen(made));
    } else if (take_word(t, "threads:read::")) {
        made = threads_xml(g);
        piece(g, t, made, strlen(made));
    } else {
        reply(g, "");
    }
}

/* ---- the monitor */

static void monitor(Gdb *g, PacketText *t)
{
    size_t n = (t->end - t->at) / 2;
    g_autofree char *line = g_malloc0(n + 1), *said = NULL;

    if (!take_bytes(t, (uint8_t *)line, n) || !text_over(t)) {
        reply_error(g, 22);
        return;
    }
    said = monitor_said(g, line);
    if (!said || !*said) {
        reply(g, "OK");
        return;
    }
    console(g, said, strlen(said));
    reply(g, "OK");
}

/* ---- dispatch */

void handle_query(Gdb *g, PacketText *t)
{
    if (take_word(t, "Supported:") || take_word(t, "Supported")) {
        query_supported(g, t);
    } else if (take_word(t, "Xfer:")) {
        transfer(g, t);
    } else if (take_word(t, "fThreadInfo")) {
        list_threads(g);
    } else if (take_word(t, "sThreadInfo")) {
        reply(g, "l");
    } else if (take_word(t, "ThreadExtraInfo,")) {
        thread_extra(g, t);
    } else if (take_word(t, "Rcmd,")) {
        monitor(g, t);
    } else if (take_word(t, "Attached")) {
        uint64_t id;
        bool us = text_over(t) || (take_char(t, ':') && take_hex(t, &id) && id == 1 && text_over(t));

        reply(g, us ? "1" : "E16");
    } else if (take_word(t, "HostInfo") && text_over(t)) {
        handle_host_info(g);
    } else if (take_word(t, "MemoryRegionInfo:")) {
        handle_region_info(g, t);
    } else if (take_word(t, "Symbol:")) {
        reply(g, "OK");
    } else if (take_word(t, "qemu.sstepbits")) {
        reply_format(g, "ENABLE=%x,NOIRQ=%x,NOTIMER=%x", SSTEP_ENABLE, SSTEP_NOIRQ, SSTEP_NOTIMER);
    } else if (take_word(t, "qemu.sstep")) {
        reply_format(g, "0x%x", g->sstep);
    } else if (take_word(t, "qemu.PhyMemMode")) {
        reply(g, g->physical ? "1" : "0");
    } else if (take_word(t, "qemu.Supported")) {
        reply(g, "sstepbits;sstep;PhyMemMode");
    } else if (take_word(t, "C") && text_over(t)) {
        GString *s = g_string_new("QC");

        put_thread(g, s, g->thread);
        reply_bytes(g, s->str, s->len);
        g_string_free(s, true);
    } else {
        reply(g, "");
    }
}

/* "=" or ":", then a number. */
static bool take_value(PacketText *t, uint64_t *out)
{
    if (!take_char(t, '=') && !take_char(t, ':'))
        return false;
    take_word(t, "0x");
    return take_hex(t, out) && text_over(t);
}

void handle_set(Gdb *g, PacketText *t)
{
    uint64_t value;

    if (take_word(t, "StartNoAckMode")) {
        reply(g, "OK");
        g->no_ack = true;
    } else if (take_word(t, "NonStop:0")) {
        reply(g, "OK");
    } else if (take_word(t, "qemu.sstep") && take_value(t, &value) && value <= SSTEP_DEFAULT) {
        g->sstep = value;
        reply(g, "OK");
    } else if (take_word(t, "qemu.PhyMemMode") && take_value(t, &value) && value <= 1) {
        g->physical = value;
        reply(g, "OK");
    } else {
        reply(g, "");
    }
}
