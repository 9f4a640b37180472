/* SPDX-License-Identifier: MIT */
/*
 * 16550A serial port, National Semiconductor PC16550D data sheet (1995).
 *
 * Bytes leave as fast as the host takes them; the divisor matters only for
 * the receive time-out. Input is taken from the host when there is room in the
 * receive FIFO, so overruns come about in loop-back mode alone. Break is
 * received but not sent. No DMA modes, no prescaler.
 */
#include "hw/char/serial.h"

#include <string.h>

#include "util/trace.h"

enum {
    R_DATA, R_IER, R_IIR_FCR, R_LCR, R_MCR, R_LSR, R_MSR, R_SCR,

    IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8,
    IIR_NONE = 1, IIR_MODEM = 0, IIR_TX = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 12, IIR_FIFOS = 0xc0,
    FCR_ON = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4,
    LCR_STOP = 4, LCR_PARITY = 8, LCR_DLAB = 0x80,
    MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16, MCR_BITS = 0x1f,
    LSR_DR = 1, LSR_OE = 2, LSR_BI = 16, LSR_THRE = 32, LSR_TEMT = 64,
    MSR_DELTAS = 0x0f, MSR_TERI = 4, MSR_CTS = 16, MSR_DSR = 32, MSR_RI = 64, MSR_DCD = 128,
    MSR_PLUGGED = MSR_CTS | MSR_DSR | MSR_DCD,

    FIFO_SIZE = 16,
};

typedef struct Serial {
    Device dev;
    Region io;
    Irq irq;
    CharPort chr;
    uint32_t clock;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;  /* lsr: only the sticky bits OE, BI; msr: lines and deltas */
    uint16_t divisor;
    uint8_t rx[FIFO_SIZE]; uint8_t rx_len;
    uint16_t rx_breaks;         /* bit i: rx[i] stands for a break */
    bool rx_timeout;            /* bytes below the trigger have waited for four characters' time */
    uint8_t tx[FIFO_SIZE]; uint8_t tx_len;      /* what the host has not taken yet */
    bool tx_pending;            /* the "transmitter empty" interrupt was not acknowledged yet */
    Timer timeout;
} Serial;

/* ---- interrupts */

static unsigned rx_trigger(const Serial *s)
{
    static const uint8_t levels[] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ON ? levels[s->fcr >> 6] : 1;
}

static uint8_t interrupt(const Serial *s)
{
    if (s->ier & IER_LINE && s->lsr & (LSR_OE | LSR_BI))
        return IIR_LINE;
    if (s->ier & IER_RX && s->rx_len >= rx_trigger(s))
        return IIR_RX;
    if (s->ier & IER_RX && s->rx_timeout)
        return IIR_TIMEOUT;
    if (s->ier & IER_TX && s->tx_pending)
        return IIR_TX;
    if (s->ier & IER_MODEM && s->msr & MSR_DELTAS)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(Serial *s)
{
    irq_set(&s->irq, interrupt(s) != IIR_NONE);
}

/* ---- receiver */

static int64_t four_characters(const Serial *s)
{
    unsigned bits = 1 + 5 + (s->lcr & 3) + !!(s->lcr & LCR_PARITY) + 1 + !!(s->lcr & LCR_STOP);
    uint64_t divisor = s->divisor ? s->divisor : 1;

    return 4 * bits * 16 * divisor * INT64_C(1000000000) / s->clock;
}

static unsigned rx_size(const Serial *s)
{
    return s->fcr & FCR_ON ? FIFO_SIZE : 1;
}

/* LSR tells of a break when its byte is the next to be read. */
static void show_break(Serial *s)
{
    if (s->rx_breaks & 1)
        s->lsr |= LSR_BI;
}

static void rx_put(Serial *s, uint8_t byte, bool is_break)
{
    if (s->rx_len >= rx_size(s)) {
        s->lsr |= LSR_OE;
        return;
    }
    s->rx_breaks |= is_break << s->rx_len;
    s->rx[s->rx_len++] = byte;
    show_break(s);
    s->rx_timeout = false;
    if (s->rx_len < rx_trigger(s))
        timer_set(&s->timeout, clock_now(s->dev.vm, CLOCK_GUEST) + four_characters(s));
    else
        timer_del(&s->timeout);
}

static uint8_t rx_get(Serial *s)
{
    if (!s->rx_len)
        return 0;
    uint8_t byte = s->rx[0];
    memmove(s->rx, s->rx + 1, --s->rx_len);
    s->rx_breaks >>= 1;
    show_break(s);
    s->rx_timeout = false;
    if (s->rx_len && s->rx_len < rx_trigger(s))
        timer_set(&s->timeout, clock_now(s->dev.vm, CLOCK_GUEST) + four_characters(s));
    else
        timer_del(&s->timeout);
    return byte;
}

static void rx_clear(Serial *s)
{
    s->rx_len = 0;
    s->rx_breaks = 0;
    s->rx_timeout = false;
    s->lsr &= ~LSR_BI;
    timer_del(&s->timeout);
}

static void rx_timed_out(void *opaque)
{
    Serial *s = opaque;

    s->rx_timeout = s->rx_len > 0;
    update_irq(s);
}

static int serial_room(void *opaque)
{
    Serial *s = opaque;

    if (s->mcr & MCR_LOOP)
        return 0;
    return rx_size(s) - MIN(rx_size(s), s->rx_len);
}

static void serial_data(void *opaque, const uint8_t *buf, int n)
{
    Serial *s = opaque;

    for (int i = 0; i < n; i++)
        rx_put(s, buf[i], false);
    update_irq(s);
}

/* ---- transmitter */

static void tx_send(Serial *s)
{
    int n = s->tx_len;

    if (!n)
        return;
    if (s->mcr & MCR_LOOP) {
        for (int i = 0; i < n; i++)
            rx_put(s, s->tx[i], false);
    } else {
        n = chr_write(&s->chr, s->tx, n);
    }
    memmove(s->tx, s->tx + n, s->tx_len - n);
    s->tx_len -= n;
    if (!s->tx_len)
        s->tx_pending = true;
}

static void tx_put(Serial *s, uint8_t byte)
{
    TRACE(serial, "tx %#x", byte);
    s->tx_pending = false;
    if (s->tx_len == (s->fcr & FCR_ON ? FIFO_SIZE : 1))
        s->tx_len--;            /* the guest did not wait: its last byte is overwritten */
    s->tx[s->tx_len++] = byte;
    tx_send(s);
}

static void serial_event(void *opaque, CharEvent what)
{
    Serial *s = opaque;

    if (what == CHR_WRITABLE) {
        tx_send(s);
    } else if (what == CHR_BREAK && !(s->mcr & MCR_LOOP)) {
        rx_put(s, 0, true);
    }
    update_irq(s);
}

/* ---- registers */

static uint8_t read_lsr(Serial *s)
{
    uint8_t val = s->lsr | (s->rx_len ? LSR_DR : 0) | (s->tx_len ? 0 : LSR_THRE | LSR_TEMT);

    s->lsr = 0;
    update_irq(s);
    return val;
}

static uint8_t read_iir(Serial *s)
{
    uint8_t why = interrupt(s);

    if (why == IIR_TX) {
        s->tx_pending = false;
        update_irq(s);
    }
    return why | (s->fcr & FCR_ON ? IIR_FIFOS : 0);
}

static uint8_t read_data(Serial *s)
{
    uint8_t byte = rx_get(s);

    update_irq(s);
    if (!(s->mcr & MCR_LOOP))
        chr_accept_input(&s->chr);
    return byte;
}

/* The modem lines become `lines`; what changed is noted in the delta bits. */
static void set_modem(Serial *s, uint8_t lines)
{
    uint8_t changed = (s->msr ^ lines) & 0xf0;

    if (changed & MSR_RI && lines & MSR_RI)
        changed &= ~MSR_RI;     /* only its end is noted */
    s->msr = lines | (s->msr & MSR_DELTAS) | changed >> 4;
    update_irq(s);
}

static uint8_t read_msr(Serial *s)
{
    uint8_t val = s->msr;

    s->msr &= ~MSR_DELTAS;
    update_irq(s);
    return val;
}

static uint64_t serial_read(void *opaque, uint64_t off, unsigned size)
{
    Serial *s = opaque;

    switch (off) {
    case R_DATA:    return s->lcr & LCR_DLAB ? s->divisor & 0xff : read_data(s);
    case R_IER:     return s->lcr & LCR_DLAB ? s->divisor >> 8 : s->ier;
    case R_IIR_FCR: return read_iir(s);
    case R_LCR:     return s->lcr;
    case R_MCR:     return s->mcr;
    case R_LSR:     return read_lsr(s);
    case R_MSR:     return read_msr(s);
    default:        return s->scr;
    }
}

static void write_ier(Serial *s, uint8_t val)
{
    /* Enabling it while the transmitter is empty brings the interrupt again. */
    if (val & ~s->ier & IER_TX && !s->tx_len)
        s->tx_pending = true;
    s->ier = val & 0x0f;
    update_irq(s);
}

static void write_fcr(Serial *s, uint8_t val)
{
    bool toggled = (val ^ s->fcr) & FCR_ON;

    if (toggled || val & FCR_CLEAR_RX)
        rx_clear(s);
    if (toggled || val & FCR_CLEAR_TX) {
        s->tx_len = 0;
        s->tx_pending = true;
    }
    s->fcr = val & FCR_ON ? val & (FCR_ON | 0xc8) : 0;
    update_irq(s);
    chr_accept_input(&s->chr);
}

static void write_mcr(Serial *s, uint8_t val)
{
    s->mcr = val & MCR_BITS;
    if (s->mcr & MCR_LOOP) {
        /* Table II of the data sheet: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD. */
        set_modem(s, (val & MCR_DTR ? MSR_DSR : 0) | (val & MCR_RTS ? MSR_CTS : 0) |
                     (val & MCR_OUT1 ? MSR_RI : 0) | (val & MCR_OUT2 ? MSR_DCD : 0));
    } else {
        set_modem(s, MSR_PLUGGED);
        chr_accept_input(&s->chr);
    }
}

static void serial_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Serial *s = opaque;

    switch (off) {
    case R_DATA:
        if (s->lcr & LCR_DLAB)
            s->divisor = (s->divisor & 0xff00) | (uint8_t)val;
        else
            tx_put(s, val);
        update_irq(s);
        break;
    case R_IER:
        if (s->lcr & LCR_DLAB)
            s->divisor = (s->divisor & 0xff) | (uint8_t)val << 8;
        else
            write_ier(s, val);
        break;
    case R_IIR_FCR:
        write_fcr(s, val);
        break;
    case R_LCR:
        s->lcr = val;
        break;
    case R_MCR:
        write_mcr(s, val);
        break;
    case R_SCR:
        s->scr = val;
        break;
    }
}

/* ---- life */

static const CharEvents serial_events = { .room = serial_room, .data = serial_data, .event = serial_event };

static Err *serial_realize(Device *d)
{
    Serial *s = (Serial *)d;

    if (!s->clock)
        return err(ERR_INVALID, "clock must not be 0");
    timer_init(&s->timeout, d->vm, CLOCK_GUEST, rx_timed_out, s);
    return chr_bind(&s->chr, &serial_events, s);
}

static void serial_unrealize(Device *d)
{
    Serial *s = (Serial *)d;

    if (s->chr.events)
        chr_unbind(&s->chr);
}

static void serial_reset(Device *d)
{
    Serial *s = (Serial *)d;

    s->msr = MSR_PLUGGED;
    s->divisor = 12;
    update_irq(s);
    chr_accept_input(&s->chr);
}

/* Lengths are believed only as far as there is room. */
static Err *serial_loaded(Device *d)
{
    Serial *s = (Serial *)d;

    if (s->rx_len > FIFO_SIZE || s->tx_len > FIFO_SIZE)
        return err(ERR_INVALID, "its FIFOs were saved with more bytes than they hold");
    update_irq(s);
    tx_send(s);
    chr_accept_input(&s->chr);
    return NULL;
}

static const IoOps serial_io = { .read = serial_read, .write = serial_write, .min = 1, .max = 1 };

static const Field serial_fields[] = {
    PROP(Serial, clock, .def = "1843200", .doc = "input clock in Hz"),
    LINK(Serial, chr, .as = "chardev", .doc = "where the bytes go"),
    LINK(Serial, irq, .doc = "receiver, transmitter, line or modem wants service"),
    LINK(Serial, io, .ops = &serial_io, .size = 8),
    STATE(Serial, ier), STATE(Serial, fcr), STATE(Serial, lcr), STATE(Serial, mcr),
    STATE(Serial, lsr), STATE(Serial, msr), STATE(Serial, scr), STATE(Serial, divisor),
    STATES(Serial, rx), STATE(Serial, rx_len), STATE(Serial, rx_breaks), STATE(Serial, rx_timeout),
    STATES(Serial, tx), STATE(Serial, tx_len), STATE(Serial, tx_pending),
    STATE(Serial, timeout),
    {0}
};

DEVICE(serial_mm) = {
    .name = "serial-mm", .bus = BUS_SYSTEM, .doc = "16550A serial port in memory",
    .size = sizeof(Serial), .fields = serial_fields,
    .realize = serial_realize, .unrealize = serial_unrealize, .reset = serial_reset,
    .loaded = serial_loaded,
};

Err *serial_make(Vm *vm, uint64_t base, unsigned clock, Chardev *chr, Irq irq)
{
    Serial *s = (Serial *)device_new(vm, &device_serial_mm);

    s->clock = clock;
    s->chr.chr = chr;
    s->irq = irq;
    return device_place(&s->dev, &s->io, base);
}
