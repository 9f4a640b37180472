/* SPDX-License-Identifier: MIT */
/*
 * A power button for guests that find it by ACPI: one 32-bit register, bit 0 of which says that it was pressed since the
 * register was last read, and a line that is high as long as that bit is. The Generic Event Device of the tables
 * (`acpi_power_button`) reads it. Guests that have a device tree alone have no driver for it.
 */
#include "hw/misc/misc.h"

#include "hw/core/board.h"

typedef struct PowerButton {
    Device dev;
    Region io;
    Irq irq;
    bool pressed;
} PowerButton;

static uint64_t button_read(void *opaque, uint64_t off, unsigned size)
{
    PowerButton *b = opaque;
    bool was = b->pressed;

    if (off)
        return 0;
    b->pressed = false;
    irq_set(&b->irq, false);
    return was;
}

static void button_press(void *opaque)
{
    PowerButton *b = opaque;

    b->pressed = true;
    irq_set(&b->irq, true);
}

static void button_reset(Device *d)
{
    irq_set(&((PowerButton *)d)->irq, false);
}

static Err *button_loaded(Device *d)
{
    PowerButton *b = (PowerButton *)d;

    irq_set(&b->irq, b->pressed);
    return NULL;
}

static const IoOps button_io = { .read = button_read, .min = 4, .max = 4 };

static const Field button_fields[] = {
    LINK(PowerButton, io, .ops = &button_io, .size = 0x1000),
    LINK(PowerButton, irq, .doc = "it was pressed"),
    STATE(PowerButton, pressed),
    {0}
};

DEVICE(power_button) = {
    .name = "acpi-power-button", .bus = BUS_SYSTEM, .doc = "tells the guest that it shall power off",
    .size = sizeof(PowerButton), .fields = button_fields, .reset = button_reset, .loaded = button_loaded,
    .later = true,
};

Err *power_button_make(Vm *vm, uint64_t base, Irq irq)
{
    PowerButton *b = (PowerButton *)device_new(vm, &device_power_button);

    b->irq = irq;
    machine_of(vm)->press_power = button_press;
    machine_of(vm)->power_button = b;
    return device_place(&b->dev, &b->io, base);
}
