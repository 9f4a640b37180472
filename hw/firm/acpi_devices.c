/* SPDX-License-Identifier: MIT */
/*
 * ACPI's view of devices that several boards have. Sources: ACPI 6.5 (FADT 5.2.9,
 * devices section 6), PCI Firmware 3.3 (MCFG 4.1.2, _OSC 4.5), Serial Port Console
 * Redirection Table 1.10; QEMU0002 and LNRO0005 are the ids that Linux and EDK2 know
 * fw_cfg and virtio-mmio by. DMA is coherent everywhere (_CCA).
 */
#include "hw/firm/acpi_devices.h"

#include <stdio.h>
#include <string.h>

/* Names count in hexadecimal. */
static const char *numbered(char out[16], const char *prefix, unsigned n)
{
    snprintf(out, 16, "%s%0*X", prefix, 4 - (int)strlen(prefix), n);
    return out;
}

/* ---- simple devices */

void acpi_begin_device(Aml *a, const char *name, const char *hid, unsigned uid, uint64_t base, uint64_t len, uint32_t gsi)
{
    g_assert(base + len <= UINT64_C(1) << 32);
    aml_begin_device(a, name);
    aml_name_text(a, "_HID", hid);
    aml_name_int(a, "_UID", uid);
    aml_name_int(a, "_CCA", 1);
    aml_begin_resources(a, "_CRS");
    aml_memory32(a, true, base, len);
    if (gsi)
        aml_interrupts(a, AML_CONSUMER | AML_LEVEL | AML_HIGH, 1, &gsi);
    aml_end(a);
}

void acpi_processors(Aml *a, unsigned n)
{
    char name[16];

    for (unsigned i = 0; i < n; i++) {
        aml_begin_device(a, numbered(name, "C", i));
        aml_name_text(a, "_HID", "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_end(a);
    }
}

void acpi_virtio_mmio(Aml *a, unsigned n, uint64_t base, uint64_t stride, uint32_t first_gsi)
{
    char name[16];

    for (unsigned i = 0; i < n; i++) {
        acpi_begin_device(a, numbered(name, "VR", i), "LNRO0005", i, base + i * stride, stride, first_gsi + i);
        aml_end(a);
    }
}

void acpi_fw_cfg_mmio(Aml *a, uint64_t base, uint64_t len)
{
    acpi_begin_device(a, "FWCF", "QEMU0002", 0, base, len, 0);
    aml_name_int(a, "_STA", 0xb);       /* present, enabled, works; nothing to show to users */
    aml_end(a);
}

/* A Generic Event Device (5.6.9) whose method reads why it interrupts, and the button that it speaks for (4.8.2.2.1.2). */
void acpi_power_button(Aml *a, uint64_t base, uint32_t gsi)
{
    aml_begin_device(a, "PWRB");
    aml_name_eisaid(a, "_HID", "PNP0C0C");
    aml_name_int(a, "_UID", 0);
    aml_end(a);
    aml_begin_device(a, "GED0");
    aml_name_text(a, "_HID", "ACPI0013");
    aml_name_int(a, "_UID", 0);
    aml_begin_resources(a, "_CRS");
    aml_interrupts(a, AML_CONSUMER | AML_LEVEL | AML_HIGH, 1, &gsi);
    aml_end(a);
    aml_region(a, "BREG", AML_MEMORY, base, 4);
    aml_begin_field(a, "BREG", AML_DWORD, false, AML_PRESERVE);
    aml_bits(a, "BPRS", 32);
    aml_end(a);
    aml_begin_method(a, "_EVT", 1, true);
    aml_begin_if(a);
    aml_op(a, AML_AND);
    aml_path(a, "BPRS");
    aml_int(a, 1);
    aml_none(a);
    aml_op(a, AML_NOTIFY);
    aml_path(a, "^^PWRB");
    aml_int(a, 0x80);
    aml_end(a);
    aml_end(a);
    aml_end(a);
}

/* ---- PCI */

/* Link devices say what _PRT itself cannot: that the lines are active high. They cannot be routed otherwise. */
static void write_links(Aml *a, const AcpiPci *p)
{
    char name[16];

    for (unsigned i = 0; i < 4; i++) {
        aml_begin_device(a, numbered(name, "GSI", i));
        aml_name_eisaid(a, "_HID", "PNP0C0F");
        aml_name_int(a, "_UID", i);
        for (int j = 0; j < 2; j++) {
            aml_begin_resources(a, j ? "_CRS" : "_PRS");
            aml_interrupts(a, AML_CONSUMER | AML_LEVEL | AML_HIGH, 1, &p->gsi[i]);
            aml_end(a);
        }
        aml_begin_method(a, "_SRS", 1, false);
        aml_end(a);
        aml_end(a);
    }
}

static void write_routes(Aml *a)
{
    char name[16];

    aml_name(a, "_PRT");
    aml_begin_package(a);
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_begin_package(a);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_path(a, numbered(name, "GSI", (slot + pin) % 4));
            aml_int(a, 0);
            aml_end(a);
        }
    }
    aml_end(a);
}

static void write_windows(Aml *a, const AcpiPci *p)
{
    aml_begin_resources(a, "_CRS");
    aml_bus_numbers(a, 0, p->ecam_size >> 20);
    aml_memory_window(a, AML_32, false, (AmlWindow){ p->mmio, p->mmio_size, 0 });
    aml_io_window(a, AML_32, true, (AmlWindow){ 0, p->pio_size, p->pio });
    if (p->high_size)
        aml_memory_window(a, AML_64, true, (AmlWindow){ p->high, p->high_size, 0 });
    aml_end(a);
}

static void set_bits(Aml *a, const char *name, unsigned bits)
{
    aml_op(a, AML_OR);
    aml_path(a, name);
    aml_int(a, bits);
    aml_path(a, name);
}

static void dword_field(Aml *a, unsigned at, const char *name)
{
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_arg(a, 3);
    aml_int(a, at);
    aml_path(a, name);
}

/* The operating system may have all it asks for: native hotplug, SHPC, PME, AER, the capability structure. */
static void write_osc(Aml *a)
{
    enum { OSC_NO_UUID = 4, OSC_NO_REVISION = 8, OSC_MASKED = 16, OSC_GRANTED = 0x1f };

    aml_begin_method(a, "_OSC", 4, false);
    dword_field(a, 0, "CDW1");
    aml_begin_if(a);
    aml_op(a, AML_LEQUAL);
    aml_arg(a, 0);
    aml_uuid(a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
    dword_field(a, 8, "CDW3");
    aml_op(a, AML_AND);
    aml_path(a, "CDW3");
    aml_int(a, OSC_GRANTED);
    aml_local(a, 0);
    aml_begin_if(a);
    aml_op(a, AML_LNOT_EQUAL);
    aml_arg(a, 1);
    aml_int(a, 1);
    set_bits(a, "CDW1", OSC_NO_REVISION);
    aml_end(a);
    aml_begin_if(a);
    aml_op(a, AML_LNOT_EQUAL);
    aml_path(a, "CDW3");
    aml_local(a, 0);
    set_bits(a, "CDW1", OSC_MASKED);
    aml_end(a);
    aml_op(a, AML_STORE);
    aml_local(a, 0);
    aml_path(a, "CDW3");
    aml_end(a);
    aml_begin_else(a);
    set_bits(a, "CDW1", OSC_NO_UUID);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_arg(a, 3);
    aml_end(a);
}

/* MCFG's space must be reserved by a device, too (PCI Firmware 3.3, 4.1.2). */
static void write_reserved(Aml *a, const AcpiPci *p)
{
    aml_begin_device(a, "RES0");
    aml_name_eisaid(a, "_HID", "PNP0C02");
    aml_begin_resources(a, "_CRS");
    aml_memory_window(a, AML_64, false, (AmlWindow){ p->ecam, p->ecam_size, 0 });
    aml_end(a);
    aml_end(a);
}

void acpi_pci_host(Aml *a, const AcpiPci *p)
{
    write_links(a, p);
    aml_begin_device(a, "PCI0");
    aml_name_eisaid(a, "_HID", "PNP0A08");
    aml_name_eisaid(a, "_CID", "PNP0A03");
    aml_name_int(a, "_SEG", 0);
    aml_name_int(a, "_BBN", 0);
    aml_name_int(a, "_UID", 0);
    aml_name_int(a, "_CCA", 1);
    write_routes(a);
    write_windows(a, p);
    write_osc(a);
    write_reserved(a, p);
    aml_end(a);
}

/* ---- tables */

/* Hardware-reduced: no ports, no SCI, no FACS; power and reset are firmware's. */
void acpi_fadt_reduced(Acpi *t, uint32_t dsdt)
{
    enum { F_FLAGS = 112, F_MINOR = 131, F_X_DSDT = 140, F_SIZE = 276, HW_REDUCED = 1 << 20, LOW_POWER_S0 = 1 << 21 };

    acpi_begin(t, "FACP", 6);
    acpi_zeros(t, F_X_DSDT - acpi_at(t));
    acpi_pointer(t, dsdt);
    acpi_zeros(t, F_SIZE - acpi_at(t));
    acpi_patch(t, F_FLAGS, HW_REDUCED | LOW_POWER_S0, 4);
    acpi_patch(t, F_MINOR, 5, 1);
    acpi_end(t);
}

void acpi_mcfg(Acpi *t, const AcpiPci *p)
{
    acpi_begin(t, "MCFG", 1);
    acpi_u64(t, 0);
    acpi_u64(t, p->ecam);
    acpi_u16(t, 0);             /* segment */
    acpi_u8(t, 0);
    acpi_u8(t, (p->ecam_size >> 20) - 1);
    acpi_u32(t, 0);
    acpi_end(t);
}

void acpi_spcr_16550(Acpi *t, uint64_t base, uint8_t irq_type, uint32_t gsi, uint32_t clock, const char *path)
{
    enum { TYPE_16550 = 0, AS_IS = 0, ONE_STOP_BIT = 1, VT_UTF8 = 2, NO_PCI = 0xffff, S_PATH = 88 };

    acpi_begin(t, "SPCR", 4);
    acpi_u8(t, TYPE_16550);
    acpi_zeros(t, 3);
    acpi_register(t, base, 8, 1);
    acpi_u8(t, irq_type);
    acpi_u8(t, 0);              /* no PC-AT interrupt */
    acpi_u32(t, gsi);
    acpi_u8(t, AS_IS);          /* baud rate */
    acpi_u8(t, 0);              /* no parity */
    acpi_u8(t, ONE_STOP_BIT);
    acpi_u8(t, 0);              /* no flow control */
    acpi_u8(t, VT_UTF8);
    acpi_u8(t, 0);
    acpi_u16(t, NO_PCI);
    acpi_u16(t, NO_PCI);
    acpi_zeros(t, 3 + 4 + 1);   /* bus, device, function; flags; segment */
    acpi_u32(t, clock);
    acpi_u32(t, 0);             /* the exact baud rate: as is */
    acpi_u16(t, strlen(path) + 1);
    acpi_u16(t, S_PATH);
    acpi_bytes(t, path, strlen(path) + 1);
    acpi_end(t);
}
