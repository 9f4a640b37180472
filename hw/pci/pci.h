/* SPDX-License-Identifier: MIT */
/*
 * PCI and PCI Express: functions, buses, bridges, interrupts. PCI Local Bus 3.0
 * (configuration space, INTx, MSI), PCI Express Base 4.0 (ECAM, capabilities,
 * hotplug).
 *
 * A function is a struct that begins with a PciDevice; its DeviceClass has
 * .bus = "pci" and .base = pci_fields. Realize order: the bus places it (devfn),
 * the class's realize says who it is (pci_identify), adds capabilities and BARs.
 * Configuration space, BAR mapping and capabilities: machine lock.
 * pci_intx, msi_notify, msix_notify: any thread, no lock.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "hw/core/device.h"

typedef struct PciBus PciBus;
typedef struct PciDevice PciDevice;
typedef struct Msi Msi;
typedef struct Msix Msix;

enum { PCI_CONFIG_SIZE = 256, PCIE_CONFIG_SIZE = 4096, PCI_BARS = 6, PCI_ROM = 6 /* slot of the expansion ROM */ };

typedef struct PciIds {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint8_t revision;
    uint32_t class_code;                /* 0xBBSSPP: base class, subclass, interface */
} PciIds;

typedef enum PciBarKind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_MEM64_PREFETCH } PciBarKind;
typedef struct PciBar {
    PciBarKind kind;
    Region *region;                     /* the device's; its size is a power of two */
    uint64_t at;                        /* where it is mapped; UINT64_MAX: nowhere */
} PciBar;

struct PciDevice {
    Device dev;
    /* properties of every function: addr, multifunction, rombar, romfile, romsize, acpi-index */
    char *addr, *romfile;               /* addr: "slot" or "slot.fn", hexadecimal, or the old decimal -1 */
    bool multifunction;
    int32_t rombar;                     /* -1: as is usual; 0, 1 */
    uint32_t romsize, acpi_index;       /* romsize UINT32_MAX: the file's, rounded up */
    uint8_t devfn;
    PciBus *bus;
    PciBus *secondary;                  /* a bridge's other side, or NULL */
    bool express;                       /* has the 4 KiB configuration space and an Express capability */
    uint8_t config[PCIE_CONFIG_SIZE];
    uint8_t wmask[PCIE_CONFIG_SIZE];    /* bits that a write sets */
    uint8_t w1c[PCIE_CONFIG_SIZE];      /* bits that a written 1 clears */
    uint8_t used[PCIE_CONFIG_SIZE];     /* taken by capabilities */
    uint8_t *initial;                   /* config as realize left it: what a reset goes back to */
    PciBar bars[PCI_BARS + 1];
    uint8_t *rom; Region rom_region;    /* bytes of romfile, read only by vCPUs */
    uint8_t msi_cap, msix_cap, exp_cap; /* offsets; 0: none */
    Msi *msi;
    Msix *msix;
    /* INTx: guarded by the host's lock; `intx` is what the device drives, `intx_out` what counts on the line */
    uint8_t intx_line;                  /* of the host's four */
    bool intx_off, intx_out;
    _Atomic bool intx;
    _Atomic bool master;                /* Bus Master Enable */
    _Atomic bool gone;                  /* unplugged in this moment: no more DMA, no interrupts */
    /* After a write to [off, off+len) of the configuration space took effect; NULL: nothing of its own. */
    void (*config_written)(PciDevice *, unsigned off, unsigned len);
    /* Brings config[] up to date before [off, off+len) is read; NULL: it is. */
    void (*config_read)(PciDevice *, unsigned off, unsigned len);
    void (*bridge_written)(PciDevice *, unsigned off, unsigned len);    /* the bridge's own, before that */
};
extern const Field pci_fields[];
extern const BusClass pci_bus_class;    /* name "pci" */

/* ---- for a function's realize */
void pci_identify(PciDevice *d, const PciIds *ids);
/* INTA..INTD as 1..4. */
void pci_use_intx(PciDevice *d, unsigned pin);
MUST_USE Err *pci_bar(PciDevice *d, unsigned n, PciBarKind kind, Region *r);
/* A capability (id, len) at `at` or (0) where there is room; its offset, zeroed, read-only until wmask says otherwise. */
unsigned pci_cap(PciDevice *d, uint8_t id, unsigned len, unsigned at);
unsigned pcie_cap(PciDevice *d, uint8_t port_type /* 0 endpoint, 4 root port.. */);     /* Express capability, version 2 */
unsigned pcie_ext_cap(PciDevice *d, uint16_t id, uint8_t version, unsigned len);
void pcie_flr(PciDevice *d);            /* the guest may reset the function alone: device_reset. After pcie_cap */
unsigned pci_pm(PciDevice *d);          /* power management capability: D0 and D3hot, which loses nothing */
MUST_USE Err *pci_msi(PciDevice *d, unsigned vectors, bool mask);           /* 1..32, power of two; 64-bit addresses */
/* `vectors` (1..2048) in a table within a 32-bit `bar` that this makes: 4 KiB or more, table at 0, PBA behind it. */
MUST_USE Err *pci_msix(PciDevice *d, unsigned vectors, unsigned bar);
/* Frees MSI, MSI-X, ROM, mappings; the bus does that after the unrealize. */
void pci_unuse(PciDevice *d);

/* ---- for a running function */
void pci_intx(PciDevice *d, bool level);
bool msi_on(const PciDevice *d);
void msi_notify(PciDevice *d, unsigned vector);
bool msix_on(const PciDevice *d);
void msix_notify(PciDevice *d, unsigned vector);    /* masked: becomes pending; not allowed (no bus master): dropped */
bool msix_masked(const PciDevice *d, unsigned vector);
bool pci_may_dma(const PciDevice *d);               /* Bus Master Enable, and not gone */
/* The device's memory accesses: dropped (MEM_DENIED) without Bus Master Enable. Memory only. */
MemResult pci_dma_read (PciDevice *d, uint64_t addr, void *buf, uint64_t len);
MemResult pci_dma_write(PciDevice *d, uint64_t addr, const void *buf, uint64_t len);

/* ---- configuration space, as the guest's accesses do it: len 1, 2, 4, aligned */
uint32_t pci_config_read(PciDevice *d, unsigned off, unsigned len);
void pci_config_write(PciDevice *d, unsigned off, uint32_t val, unsigned len);
static inline uint16_t pci_get16(const uint8_t *p) { return p[0] | p[1] << 8; }
static inline uint32_t pci_get32(const uint8_t *p) { return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16; }
static inline void pci_set16(uint8_t *p, uint16_t v) { p[0] = v; p[1] = v >> 8; }
static inline void pci_set32(uint8_t *p, uint32_t v) { pci_set16(p, v); pci_set16(p + 2, v >> 16); }

/* ---- buses */
struct PciBus {
    Bus bus;                            /* named "pcie.0", or after its bridge's id */
    PciDevice *functions[256];          /* by devfn */
    PciDevice *bridge;                  /* NULL: the root */
    bool express, one_slot;             /* one_slot: below a port */
    bool off;                           /* below a port whose slot has no power: nobody answers */
    unsigned id;                        /* among its host's, never two at a time */
    struct PciHost *host;
    const struct PciSlotOps *slot;      /* of a port whose slot takes and gives devices, or NULL */
};

/* What a board gives its root: windows in its memory, the four interrupt lines. */
typedef struct PciHostConfig {
    uint64_t ecam, ecam_size;           /* configuration space: 1 MiB for each bus */
    uint64_t mmio, mmio_size, high, high_size;      /* where 32- and 64-bit BARs may lie: PCI address = CPU address */
    uint64_t pio, pio_size;             /* I/O ports 0.. */
    Irq irq[4];                         /* pin A of slot 0 goes to irq[0], each next slot or pin to the next */
    const char *name;                   /* "pcie.0" */
} PciHostConfig;
MUST_USE Err *pci_host_make(Vm *vm, const PciHostConfig *c, PciBus **out);

#endif
