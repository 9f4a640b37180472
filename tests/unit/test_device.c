/* SPDX-License-Identifier: MIT */
/*
 * The device core: tables in layers, inner devices, buses, -device in both
 * forms, devices that come and go while the machine runs.
 */
#include "system/disks.h"
#include "tests/dev/rig.h"

static Rig rig, *r = &rig;
static GString *said;                   /* what happened, a letter each */

/* ---- a kind of bus with two places, and devices of three layers for it */

typedef struct ToyBus { Bus bus; int n; bool refuses; } ToyBus;

static Err *toy_plug(Bus *b, Device *d)
{
    ToyBus *t = (ToyBus *)b;

    if (t->refuses)
        return err(ERR_BUSY, "the bus refuses");
    t->n++;
    g_string_append_c(said, 'p');
    return NULL;
}

static void toy_plugged(Bus *b, Device *d) { g_string_append_c(said, 'P'); }
static void toy_unplug(Bus *b, Device *d) { ((ToyBus *)b)->n--; g_string_append_c(said, 'u'); }
static void toy_clear(Device *d) { g_string_append_c(said, 'c'); }
static void toy_bus_reset(Bus *b, Device *d) { g_string_append_c(said, 'b'); }
static bool toy_full(const Bus *b) { return ((const ToyBus *)b)->n >= 2; }

static const BusClass toy_bus_class = {
    .name = "toy", .plug = toy_plug, .plugged = toy_plugged, .unplug = toy_unplug, .reset = toy_bus_reset,
    .clear = toy_clear,
    .full = toy_full,
};
static const BusClass inner_bus_class = { .name = "toy-inner" };

typedef struct Base { Device dev; uint32_t base_prop, base_state; } Base;
typedef struct Toy {
    Base base;
    Region io;
    CharPort chr;
    DiskPort drive;
    char *text;
    uint32_t prop, state;
    Timer timer;
    bool fails;
    Bus below;
} Toy;
typedef struct Inner { Device dev; uint8_t depth; bool shared; uint16_t state; } Inner;

static const Field base_fields[] = { PROP(Base, base_prop, .def = "5"), STATE(Base, base_state), {0} };
static const IoOps toy_io = { .min = 1 };
static const Field toy_fields[] = {
    PROP(Toy, prop, .def = "7", .doc = "a number"), PROP(Toy, text), PROP(Toy, fails), PROP(Toy, chr, .as = "chardev"),
    PROP(Toy, drive), STATE(Toy, state), LINK(Toy, io, .ops = &toy_io, .size = 16), STATE(Toy, timer), {0}
};
static const Field inner_fields[] = { PROP(Inner, depth, .def = "3"), PROP(Inner, shared), STATE(Inner, state), {0} };

static void fired(void *opaque) { g_string_append_c(said, '!'); }

static Err *inner_realize(Device *d) { g_string_append_c(said, 'i'); return NULL; }
static void inner_unrealize(Device *d) { g_string_append_c(said, 'I'); }
static const DeviceClass inner_class = {
    .name = "inner", .doc = "inner", .bus = "toy-inner", .size = sizeof(Inner), .fields = inner_fields,
    .realize = inner_realize, .unrealize = inner_unrealize,
};

static Err *toy_realize(Device *d)
{
    Toy *t = (Toy *)d;

    timer_init(&t->timer, d->vm, CLOCK_REAL, fired, t);
    bus_init(d->vm, &t->below, &inner_bus_class, d->id ? d->id : "below", d);
    if (t->fails)
        return err(ERR_INVALID, "it was told to fail");
    g_string_append_c(said, 'r');
    return d->inner ? device_realize_inner(d, &t->below) : NULL;
}

static void toy_unrealize(Device *d)
{
    bus_clear(d->vm, &((Toy *)d)->below);
    g_string_append_c(said, 'R');
}

static void toy_reset(Device *d) { g_string_append_c(said, '0'); }

static const DeviceClass toy_class = {
    .name = "toy", .doc = "a toy", .bus = "toy", .size = sizeof(Toy), .fields = toy_fields, .base = base_fields,
    .inner = &inner_class, .realize = toy_realize, .unrealize = toy_unrealize, .reset = toy_reset,
};

static ToyBus bus;

static void start(void)
{
    rig_init(r);
    rig_board(r);
    said = g_string_new(NULL);
    bus_init(r->vm, &bus.bus, &toy_bus_class, "toy.0", NULL);
    bus.bus.hotplug = true;
    bus.refuses = false;
}

static void end(void)
{
    rig_free(r);
    CHECK_EQ(bus.n, 0);
    g_free(bus.bus.name);
    bus = (ToyBus){ 0 };
    g_string_free(said, true);
}

static void clear(void) { g_string_truncate(said, 0); }

static Toy *toy(const char *id)
{
    Toy *t = (Toy *)device_new(r->vm, &toy_class);

    if (id)
        rig_must(device_set_prop(&t->base.dev, "id", id));
    return t;
}

static void test_tables(void)
{
    start();
    Toy *t = toy("t");
    Device *d = &t->base.dev;
    Inner *in = (Inner *)d->inner;

    CHECK(in && in->dev.outer == d);
    CHECK_EQ(t->base.base_prop, 5);
    CHECK_EQ(t->prop, 7);
    CHECK_EQ(in->depth, 3);
    CHECK(d->bootindex == -1);
    rig_must(device_set_prop(d, "base-prop", "50"));
    rig_must(device_set_prop(d, "prop", "70"));
    rig_must(device_set_prop(d, "depth", "30"));
    rig_must(device_set_prop(d, "bootindex", "2"));
    rig_must(device_set_prop(d, "drive", "disk0"));
    rig_must(device_set_prop(d, "drive", "disk1"));
    CHECK_EQ(t->base.base_prop, 50);
    CHECK_EQ(t->prop, 70);
    CHECK_EQ(in->depth, 30);
    CHECK_STR(t->drive.name, "disk1");
    CHECK_STR(d->id, "t");
    CHECK(!in->dev.id);
    CHECK(rig_says(device_set_prop(d, "dept", "1"), "'depth'"));
    CHECK(rig_says(device_set_prop(d, "base-pro", "1"), "'base-prop'"));
    CHECK(rig_says(device_set_prop(d, "chardev", "no"), "'no'"));
    g_autofree char *help = device_props_help(&toy_class);
    CHECK(strstr(help, "  base-prop=<uint32>") && strstr(help, "prop=<uint32>") && strstr(help, "depth=<uint8>"));
    CHECK(strstr(help, "drive=<drive>") && strstr(help, "bootindex") && !strstr(help, "  id="));

    rig_must(device_plug(d, &bus.bus));
    CHECK_STR(said->str, "prib0P");
    CHECK(in->dev.realized && in->dev.bootindex == 2 && d->hotplugged);
    CHECK(t->io.size == 16 && t->io.dev == t);
    clear();
    t->state = t->base.base_state = in->state = 9;
    timer_set(&t->timer, clock_now(r->vm, CLOCK_REAL));
    vm_reset(r->vm);
    CHECK_STR(said->str, "b0");
    CHECK(!t->state && !t->base.base_state && !in->state);
    CHECK_EQ(t->prop, 70);
    rig_turn(r, 2);
    CHECK_STR(said->str, "b0");             /* the timer was stopped */
    clear();
    device_free(d);
    CHECK_STR(said->str, "IuRc");
    CHECK(!device_find(r->vm, "t"));
    end();
}

/* What fails half way leaves nothing. */
static void test_failures(void)
{
    start();
    Toy *t = toy("t");

    t->fails = true;
    CHECK(rig_says(device_plug(&t->base.dev, &bus.bus), "told to fail"));
    device_free(&t->base.dev);
    CHECK_STR(said->str, "puRc");
    CHECK(!bus_find(r->vm, "t"));
    clear();
    t = toy("t");
    bus.refuses = true;
    CHECK(rig_says(device_plug(&t->base.dev, &bus.bus), "refuses"));
    device_free(&t->base.dev);
    CHECK_STR(said->str, "");
    end();
}

static void note_deleted(void *opaque, const char *id)
{
    g_string_append_printf(said, "<%s>", id ? id : "-");
}

/* Asked for by its id, with another on a bus of its own; what a vCPU may hold goes at the safepoint. */
static void test_unplug(void)
{
    static const DeviceClass plain = {
        .name = "plain", .bus = "toy-inner", .size = sizeof(Inner), .fields = inner_fields,
        .realize = inner_realize, .unrealize = inner_unrealize,
    };
    start();
    Toy *t = toy("outer");
    rig_must(device_plug(&t->base.dev, &bus.bus));
    Device *child = device_new(r->vm, &plain);
    rig_must(device_set_prop(child, "id", "child"));
    rig_must(device_plug(child, &t->below));
    device_on_deleted(r->vm, note_deleted, NULL);
    CHECK(rig_says(device_del(r->vm, "nobody"), "'nobody'"));
    CHECK(rig_says(device_del(r->vm, "child"), "pcie-root-port"));      /* that bus is not for hotplug */
    clear();
    rig_must(device_del(r->vm, "outer"));
    CHECK_STR(said->str, "u");
    CHECK(device_find(r->vm, "outer") && device_find(r->vm, "child"));
    CHECK(rig_says(device_del(r->vm, "outer"), "already"));
    CHECK_EQ(bus.n, 0);
    vm_reset(r->vm);
    rig_turn(r, 0);
    CHECK_STR(said->str, "u");              /* no vCPU came by yet */
    rig_work(r);
    rig_turn(r, 0);
    CHECK_STR(said->str, "uIIRc<child><outer>");
    CHECK(!device_find(r->vm, "outer") && !device_find(r->vm, "child"));

    /* The machine ends before the safepoint. */
    t = toy("outer");
    rig_must(device_plug(&t->base.dev, &bus.bus));
    rig_must(device_del(r->vm, "outer"));
    end();
}

static void test_arguments(void)
{
    Rig plain;

    rig_init(&plain);
    rig_must(rig_try_board(&plain));
    CHECK(rig_says(device_add(plain.vm, "loader,addr=0x80000000,data=1,data-len=4"), "while the machine runs"));
    CHECK(rig_says(device_add(plain.vm, "loadr"), "'loader'"));
    CHECK(rig_says(device_add(plain.vm, "serial-mm"), "part of a board"));
    CHECK(rig_says(device_add(plain.vm, "{\"addr\":1}"), "driver"));
    CHECK(rig_says(device_add(plain.vm, "{\"driver\":"), "JSON"));
    CHECK(rig_says(device_add(plain.vm, "{\"driver\":\"loader\",\"addr\":null}"), "'addr'"));
    CHECK(rig_says(device_add(plain.vm, "loader,bus=pcie.9,addr=0"), "no bus"));
    rig_free(&plain);

    char *args[] = {
        (char *)"{\"driver\":\"loader\",\"id\":\"one\",\"addr\":2147483648,\"data\":77,\"data-len\":4,\"data-be\":false}",
        (char *)"loader,id=two,addr=0x80000004,data=78,data-len=4", NULL,
    };
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, args[0]);
    g_ptr_array_add(r->config.devices, args[1]);
    rig_board(r);
    CHECK_EQ(rd32(r, 0x80000000), 77);
    CHECK_EQ(rd32(r, 0x80000004), 78);
    CHECK(device_find(r->vm, "one") && device_find(r->vm, "two"));
    CHECK(rig_says(device_del(r->vm, "one"), "cannot be unplugged"));
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
}

static void on_state(void *opaque, bool runs)
{
    g_string_append_printf(said, "%s%c", (char *)opaque, runs ? '+' : '-');
}

static void test_state_hooks(void)
{
    static char a[] = "a", b[] = "b";

    rig_init(r);
    said = g_string_new(NULL);
    r->vm->nvcpus = 0;                      /* none has a thread */
    vm_on_state(r->vm, on_state, a);
    vm_on_state(r->vm, on_state, b);
    vm_start(r->vm);
    vm_start(r->vm);
    vm_stop(r->vm, RUN_PAUSED);
    vm_stop(r->vm, RUN_DEBUG);
    CHECK_STR(said->str, "a+b+b-a-");
    vm_off_state(r->vm, a);
    vm_start(r->vm);
    CHECK_STR(said->str, "a+b+b-a-b+");
    r->vm->nvcpus = RIG_HARTS;
    r->vm->state = RUN_PAUSED;
    g_string_free(said, true);
    rig_free(r);
}

int main(void)
{
    RUN(test_tables);
    RUN(test_failures);
    RUN(test_unplug);
    RUN(test_arguments);
    RUN(test_state_hooks);
    return test_end();
}
