/* SPDX-License-Identifier: MIT */
/*
 * Goldfish real-time clock (Android's goldfish virtual hardware guide, chapter
 * "Goldfish Real-Time Clock"): nanoseconds since 1970 in two 32-bit registers, and
 * one alarm. Reading the low one latches the high one. -rtc says whose time
 * it shows; what the guest sets is kept as a difference to that, over resets too.
 */
#include "hw/time/time.h"

enum {
    R_TIME_LOW = 0x00, R_TIME_HIGH = 0x04, R_ALARM_LOW = 0x08, R_ALARM_HIGH = 0x0c, R_IRQ_ENABLED = 0x10,
    R_CLEAR_ALARM = 0x14, R_ALARM_STATUS = 0x18, R_CLEAR_INTERRUPT = 0x1c,
};

typedef struct GoldfishRtc {
    Device dev;
    Region io;
    Irq irq;
    uint64_t offset;            /* shown time minus that of the clock behind it */
    uint64_t alarm;
    uint32_t time_high, alarm_high;     /* latches */
    bool alarm_set, pending, enabled;
    Timer timer;
} GoldfishRtc;

static uint64_t now(const GoldfishRtc *r)
{
    return clock_now(r->dev.vm, r->timer.kind) + r->offset;
}

static void update_irq(GoldfishRtc *r)
{
    irq_set(&r->irq, r->pending && r->enabled);
}

static void ring(void *opaque)
{
    GoldfishRtc *r = opaque;

    r->alarm_set = false;
    r->pending = true;
    update_irq(r);
}

static void set_timer(GoldfishRtc *r)
{
    if (!r->alarm_set)
        return;
    if (r->alarm <= now(r)) {
        timer_del(&r->timer);
        ring(r);
    } else {
        uint64_t when = r->alarm - r->offset;

        timer_set(&r->timer, when > INT64_MAX ? INT64_MAX : (int64_t)when);
    }
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned size)
{
    GoldfishRtc *r = opaque;
    uint64_t t;

    switch (off) {
    case R_TIME_LOW:
        t = now(r);
        r->time_high = t >> 32;
        return (uint32_t)t;
    case R_TIME_HIGH:    return r->time_high;
    case R_ALARM_LOW:    return (uint32_t)r->alarm;
    case R_ALARM_HIGH:   return r->alarm >> 32;
    case R_IRQ_ENABLED:  return r->enabled;
    case R_ALARM_STATUS: return r->alarm_set;
    default:             return 0;
    }
}

/* Half of the time is written: the other half goes on as it is. */
static void set_time(GoldfishRtc *r, uint64_t mask, uint64_t val)
{
    uint64_t t = now(r);

    r->offset += ((t & ~mask) | val) - t;
    set_timer(r);
}

/* For management: by how much the guest's time is apart from what -rtc says. The low half is written last. */
static void tell_change(GoldfishRtc *r)
{
    int64_t apart = (int64_t)(r->offset - clock_rtc(r->dev.vm).offset);
    Vm *vm = r->dev.vm;

    if (!vm->device_path)
        return;         /* nobody listens */
    g_autofree char *path = vm->device_path(&r->dev);
    vm_event(vm, "RTC_CHANGE", json_pack("{s:I, s:s}", "offset", (json_int_t)(apart / 1000000000), "qom-path", path));
}

static void rtc_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    GoldfishRtc *r = opaque;

    switch (off) {
    case R_TIME_LOW:
        set_time(r, UINT32_MAX, val);
        tell_change(r);
        break;
    case R_TIME_HIGH:
        set_time(r, (uint64_t)UINT32_MAX << 32, val << 32);
        break;
    case R_ALARM_LOW:
        r->alarm = (uint64_t)r->alarm_high << 32 | val;
        r->alarm_set = true;
        set_timer(r);
        break;
    case R_ALARM_HIGH:
        r->alarm_high = val;
        break;
    case R_IRQ_ENABLED:
        r->enabled = val & 1;
        update_irq(r);
        break;
    case R_CLEAR_ALARM:
        r->alarm_set = false;
        timer_del(&r->timer);
        break;
    case R_CLEAR_INTERRUPT:
        r->pending = false;
        update_irq(r);
        break;
    }
}

static Err *rtc_realize(Device *d)
{
    GoldfishRtc *r = (GoldfishRtc *)d;
    RtcTime t = clock_rtc(d->vm);

    r->offset = t.offset;
    timer_init(&r->timer, d->vm, t.kind, ring, r);
    return NULL;
}

static void rtc_reset(Device *d)
{
    update_irq((GoldfishRtc *)d);
}

/* The host's clock has gone on meanwhile: an alarm that came due rings now. */
static Err *rtc_loaded(Device *d)
{
    GoldfishRtc *r = (GoldfishRtc *)d;

    update_irq(r);
    set_timer(r);
    return NULL;
}

static const IoOps rtc_io = { .read = rtc_read, .write = rtc_write, .min = 4, .max = 4 };

static const Field rtc_fields[] = {
    LINK(GoldfishRtc, io, .ops = &rtc_io, .size = 0x24),
    LINK(GoldfishRtc, irq, .doc = "the alarm"),
    STATE(GoldfishRtc, offset, .keep = true),
    STATE(GoldfishRtc, alarm), STATE(GoldfishRtc, time_high), STATE(GoldfishRtc, alarm_high),
    STATE(GoldfishRtc, alarm_set), STATE(GoldfishRtc, pending), STATE(GoldfishRtc, enabled),
    STATE(GoldfishRtc, timer),
    {0}
};

DEVICE(goldfish_rtc) = {
    .name = "goldfish_rtc", .bus = BUS_SYSTEM, .doc = "Goldfish real-time clock",
    .size = sizeof(GoldfishRtc), .fields = rtc_fields, .realize = rtc_realize, .reset = rtc_reset,
    .loaded = rtc_loaded,
};

Err *goldfish_rtc_make(Vm *vm, uint64_t base, Irq irq)
{
    GoldfishRtc *r = (GoldfishRtc *)device_new(vm, &device_goldfish_rtc);

    r->irq = irq;
    return device_place(&r->dev, &r->io, base);
}
