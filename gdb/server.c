/* SPDX-License-Identifier: MIT */
/*
 * The stub of gdb's remote serial protocol (gdb's manual, appendix E): the
 * connection, and which packet goes where. A debugger that connects stops the
 * machine. One that goes away without a word leaves it as it is, but for its
 * breakpoints. Non-stop mode, reverse execution and files of the host are not
 * there.
 */
#include <stdarg.h>
#include <string.h>

#include "gdb/gdb-priv.h"
#include "system/state.h"
#include "system/vmconfig.h"
#include "util/err.h"

#define CHARDEV_ID "gdb"

enum { IN_MAX = 64 * 1024, OUT_MAX = 1024 * 1024 };

/* ---- out */

static void flush(Gdb *g)
{
    while (g->out->len) {
        int n = chr_write(&g->port, g->out->data, g->out->len);

        if (n <= 0)
            return;
        g_byte_array_remove_range(g->out, 0, n);
    }
}

static void put_packet(Gdb *g, const void *data, size_t len)
{
    g_byte_array_set_size(g->last, 0);
    packet_frame(g->last, data, len);
    g_byte_array_append(g->out, g->last->data, g->last->len);
}

void reply_bytes(Gdb *g, const void *data, size_t len)
{
    put_packet(g, data, len);
    g->replied = true;
    flush(g);
}

void reply(Gdb *g, const char *text)
{
    reply_bytes(g, text, strlen(text));
}

void reply_format(Gdb *g, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    g_autofree char *s = g_strdup_vprintf(format, ap);
    va_end(ap);
    reply(g, s);
}

void reply_error(Gdb *g, int number)
{
    reply_format(g, "E%02x", number & 0xff);
}

void console(Gdb *g, const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        GString *s = g_string_new("O");

        n = MIN(len - i, 1000);
        put_bytes(s, text + i, n);
        put_packet(g, s->str, s->len);
        g_string_free(s, true);
    }
}

/* ---- threads */

/* A number, or -1. */
static bool take_id(PacketText *t, int64_t *id)
{
    uint64_t n;
    bool minus = take_char(t, '-');

    if (!take_hex(t, &n) || n > INT32_MAX)
        return false;
    *id = minus ? -(int64_t)n : (int64_t)n;
    return !minus || n == 1;
}

bool take_thread(const Gdb *g, PacketText *t, int *index)
{
    int64_t process = 1, id = ALL_THREADS;

    if (take_char(t, 'p')) {
        if (!take_id(t, &process) || (take_char(t, '.') && !take_id(t, &id)))
            return false;
    } else if (!take_id(t, &id)) {
        return false;
    }
    *index = id - 1;
    return process <= 1 && id <= g->vm->nvcpus;
}

void put_thread(const Gdb *g, GString *s, int index)
{
    g_string_append_printf(s, g->multiprocess ? "p1.%x" : "%x", index + 1);
}

static void handle_alive(Gdb *g, PacketText *t)
{
    int index;

    if (take_thread(g, t, &index) && index >= 0)
        reply(g, "OK");
    else
        reply_error(g, 3);
}

static void handle_thread(Gdb *g, PacketText *t)
{
    bool resume = take_char(t, 'c');
    int index;

    if ((!resume && !take_char(t, 'g')) || !take_thread(g, t, &index)) {
        reply_error(g, 22);
        return;
    }
    if (resume)
        g->resumes = index;
    else if (index >= 0)
        g->thread = index;
    reply(g, "OK");
}

/* ---- sessions */

static void attach(Gdb *g)
{
    stop_machine(g);
    if (g->attached)
        return;
    g->attached = true;
    g->sstep = SSTEP_DEFAULT;
    g->resumes = ALL_THREADS - 1;
    g->thread = g->stopped = 0;
    g->physical = false;
}

/* ";1": the process that the machine is. */
static bool take_process(PacketText *t)
{
    uint64_t id;

    return take_char(t, ';') && take_hex(t, &id) && id == 1 && text_over(t);
}

static void detach(Gdb *g, PacketText *t)
{
    if (!text_over(t) && !take_process(t)) {
        reply_error(g, 22);
        return;
    }
    reply(g, "OK");
    let_go(g, true);
}

static void quit(Gdb *g)
{
    let_go(g, false);
    vm_request(g->vm, VM_QUIT, 0);
}

/* Nobody is at the other end any more. The machine stays as it is: a new debugger may come. */
static void gone(Gdb *g)
{
    bool stands = g->vm->state != RUN_RUNNING;

    packet_parser_restart(&g->parser);
    g_byte_array_set_size(g->in, 0);
    g_byte_array_set_size(g->out, 0);
    g->no_ack = g->multiprocess = g->swbreak = g->hwbreak = false;
    if (!g->attached)
        return;
    let_go(g, false);
    if (stands && g->vm->state == RUN_PAUSED)
        err_note("the debugger is gone, and the machine stands: another may connect, or SIGUSR1 lets it go on");
}

/* ---- packets that begin with a word */

static void handle_v(Gdb *g, PacketText *t)
{
    if (take_word(t, "Cont?")) {
        reply(g, "vCont;c;C;s;S;t;r");
    } else if (take_word(t, "Cont")) {
        handle_vcont(g, t);
    } else if (take_word(t, "Attach")) {
        if (take_process(t))
            send_stop(g);           /* the machine was stopped by this packet */
        else
            reply_error(g, 22);
    } else if (take_word(t, "Kill")) {
        bool us = text_over(t) || take_process(t);

        reply(g, us ? "OK" : "E16");
        if (us)
            quit(g);
    } else {
        reply(g, "");               /* vMustReplyEmpty too */
    }
}

static void handle(Gdb *g, PacketText t)
{
    char c = *t.at++;

    switch (c) {
    case '?': send_stop(g); break;
    case '!': reply(g, "OK"); break;
    case 'g': handle_read_all(g); break;
    case 'G': handle_write_all(g, &t); break;
    case 'p': handle_read_reg(g, &t); break;
    case 'P': handle_write_reg(g, &t); break;
    case 'm': handle_read_memory(g, &t, false); break;
    case 'x': handle_read_memory(g, &t, true); break;
    case 'M': handle_write_memory(g, &t, false); break;
    case 'X': handle_write_memory(g, &t, true); break;
    case 'c': case 'C': case 's': case 'S': handle_continue(g, &t, c); break;
    case 'Z': handle_point(g, &t, true); break;
    case 'z': handle_point(g, &t, false); break;
    case 'H': handle_thread(g, &t); break;
    case 'T': handle_alive(g, &t); break;
    case 'q': handle_query(g, &t); break;
    case 'Q': handle_set(g, &t); break;
    case 'v': handle_v(g, &t); break;
    case 'D': detach(g, &t); break;
    case 'k': g->replied = true; quit(g); break;
    case 'R': g->replied = true; vm_request(g->vm, VM_RESET, 0); break;
    default: reply(g, ""); break;
    }
}

static void packet(Gdb *g)
{
    PacketText t = { (const char *)g->parser.data->data, (const char *)g->parser.data->data + g->parser.data->len };

    attach(g);
    g->replied = false;
    if (text_over(&t))
        reply(g, "");
    else
        handle(g, t);
}

static void interrupt(Gdb *g)
{
    if (!g->waits)
        return;
    stop_machine(g);
    send_stop(g);
}

/* ---- in */

static void acknowledge(Gdb *g, const char *sign)
{
    if (!g->no_ack)
        g_byte_array_append(g->out, (const uint8_t *)sign, 1);
}

static void event(Gdb *g, PacketEvent e)
{
    switch (e) {
    case PACKET_HERE:
        acknowledge(g, "+");
        packet(g);
        break;
    case PACKET_TOO_LONG:
        acknowledge(g, "+");
        reply_error(g, 22);
        break;
    case PACKET_BAD:
        acknowledge(g, "-");
        break;
    case PACKET_NAK:
        if (!g->no_ack)
            g_byte_array_append(g->out, g->last->data, g->last->len);
        break;
    case PACKET_INTERRUPT:
        interrupt(g);
        break;
    case PACKET_ACK: case PACKET_NOTHING:
        break;
    }
    flush(g);
}

/* Of a machine that ends gdb_end tells; one that is still to arrive goes on then. */
static bool stop_is_due(const Gdb *g)
{
    RunState state = g->vm->state;

    return g->waits && state != RUN_RUNNING && !migrate_awaited(g->vm) && (state != RUN_SHUTDOWN || g->keeps);
}

/* In the main loop, where the machine may be stopped. */
static void serve(void *opaque)
{
    Gdb *g = opaque;

    g->called = false;
    g->serving = true;
    if (g->closed) {
        g->closed = false;
        gone(g);
    }
    if (g->opened) {
        g->opened = false;
        attach(g);
    }
    if (stop_is_due(g))
        send_stop(g);
    flush(g);
    g_autoptr(GByteArray) in = g->in;
    const uint8_t *at = in->data, *end = in->len ? at + in->len : at;
    g->in = g_byte_array_new();
    while (at < end && g->out->len < OUT_MAX)
        event(g, packet_parse(&g->parser, &at, end));
    /* What came meanwhile is behind what is left. */
    if (at < end)
        g_byte_array_prepend(g->in, at, end - at);
    chr_accept_input(&g->port);
    g->serving = false;
}

static void call(Gdb *g)
{
    if (!g->called)
        vm_call_main(g->vm, serve, g);
    g->called = true;
}

static int on_room(void *dev)
{
    Gdb *g = dev;

    return g->in->len < IN_MAX ? IN_MAX - g->in->len : 0;
}

static void on_data(void *dev, const uint8_t *buf, int n)
{
    Gdb *g = dev;

    g_byte_array_append(g->in, buf, n);
    call(g);
}

static void on_event(void *dev, CharEvent what)
{
    Gdb *g = dev;

    g->opened |= what == CHR_OPENED;
    g->closed |= what == CHR_CLOSED;
    /* Bytes of the one who is gone are not the next one's. */
    if (what == CHR_CLOSED) {
        g_byte_array_set_size(g->in, 0);
        g->opened = false;
    }
    if (what == CHR_OPENED || what == CHR_CLOSED || what == CHR_WRITABLE)
        call(g);
}

static const CharEvents chr_events = { on_room, on_data, on_event, .stays = true };

/* ---- the machine's side */

/* Told a moment later, if it still stands then: a reset, savevm and loadvm stop it while they are at work. */
static void state_changed(void *opaque, bool runs)
{
    Gdb *g = opaque;

    if (!runs && g->waits)
        call(g);
    /* The console's cont. What savevm stopped goes on as it was. */
    if (runs && g->attached && !g->waits && !g->goes)
        all_go(g);
}

/* Sockets are servers that nobody waits for, unless it was said otherwise. */
static char *as_server(const char *where)
{
    bool socket = g_str_has_prefix(where, "tcp:") || g_str_has_prefix(where, "unix:") || g_str_has_prefix(where, "telnet:");
    bool server = strstr(where, ",server") || strstr(where, ",nowait") || strstr(where, ",wait");

    return g_strdup_printf("%s%s", where, socket && !server ? ",server=on,wait=off" : "");
}

static Gdb *gdb_new(Vm *vm)
{
    Gdb *g = g_new0(Gdb, 1);

    g->vm = vm;
    g->keeps = vm->config->no_shutdown;
    packet_parser_init(&g->parser);
    g->in = g_byte_array_new();
    g->out = g_byte_array_new();
    g->last = g_byte_array_new();
    g->breaks = g_array_new(false, false, sizeof(Breakpoint));
    g->watches = g_array_new(false, false, sizeof(Watchpoint));
    vm_on_state(vm, state_changed, g);
    return g;
}

static void gdb_free(Gdb *g)
{
    if (!g)
        return;
    vm_off_state(g->vm, g);
    vm_forget_calls(g->vm, g);
    chr_unbind(&g->port);
    if (g->own_chardev)
        err_free(chardev_remove(g->vm->chardevs, CHARDEV_ID));
    packet_parser_clear(&g->parser);
    g_byte_array_free(g->in, true);
    g_byte_array_free(g->out, true);
    g_byte_array_free(g->last, true);
    g_array_free(g->breaks, true);
    g_array_free(g->watches, true);
    if (g->target)
        g_string_free(g->target, true);
    g_free(g);
}

static Err *listen_at(Gdb *g, const char *where)
{
    g_autofree char *line = as_server(where);

    TRY(debug_possible(g->vm));
    TRY(chardev_add_line(g->vm->chardevs, line, CHARDEV_ID, &g->port.chr));
    g->own_chardev = g->port.chr && !strcmp(chardev_id(g->port.chr), CHARDEV_ID) && !g_str_has_prefix(where, "chardev:");
    return chr_bind(&g->port, &chr_events, g);
}

Err *gdb_start(Vm *vm, const char *where)
{
    Gdb *g = vm->gdb;

    if (g && g->serving)
        return err_hint(err(ERR_BUSY, "the debugger that asks is served by this stub"), "The machine's own console can end and move it.");
    if (g) {
        if (g->attached)
            let_go(g, true);
        vm->gdb = NULL;
        gdb_free(g);
    }
    if (!strcmp(where, "none"))
        return NULL;
    g = gdb_new(vm);
    Err *e = listen_at(g, where);
    if (e)
        gdb_free(g);
    else
        vm->gdb = g;
    return e;
}

void gdb_end(Vm *vm, int status)
{
    Gdb *g = vm->gdb;

    if (!g)
        return;
    vm->gdb = NULL;
    if (g->attached && g->waits)
        reply_format(g, g->multiprocess ? "W%02x;process:1" : "W%02x", status & 0xff);
    gdb_free(g);
}
