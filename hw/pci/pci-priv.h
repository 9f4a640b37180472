/* SPDX-License-Identifier: MIT */
/*
 * Between the files of this folder; nobody else's. Register names and bits are
 * those of the PCI Local Bus 3.0 and PCI Express Base 4.0 specifications.
 */
#ifndef HW_PCI_PCI_PRIV_H
#define HW_PCI_PCI_PRIV_H

#include <pthread.h>

#include "hw/pci/pci.h"

enum {
    R_VENDOR = 0x00, R_DEVICE = 0x02, R_COMMAND = 0x04, R_STATUS = 0x06, R_REVISION = 0x08, R_CLASS = 0x09,
    R_CACHE_LINE = 0x0c, R_LATENCY = 0x0d, R_HEADER = 0x0e, R_BAR0 = 0x10,
    R_SUBVENDOR = 0x2c, R_SUBSYSTEM = 0x2e, R_ROM = 0x30, R_CAPS = 0x34, R_INT_LINE = 0x3c, R_INT_PIN = 0x3d,
    /* of bridges */
    R_PRIMARY = 0x18, R_SECONDARY = 0x19, R_SUBORDINATE = 0x1a, R_IO_BASE = 0x1c, R_IO_LIMIT = 0x1d,
    R_SEC_STATUS = 0x1e, R_MEM_BASE = 0x20, R_MEM_LIMIT = 0x22, R_PREF_BASE = 0x24, R_PREF_LIMIT = 0x26,
    R_PREF_BASE_HIGH = 0x28, R_PREF_LIMIT_HIGH = 0x2c, R_IO_BASE_HIGH = 0x30, R_IO_LIMIT_HIGH = 0x32,
    R_BRIDGE_ROM = 0x38, R_BRIDGE_CONTROL = 0x3e,
    R_FIRST_CAP = 0x40,
};
enum {
    CMD_IO = 1, CMD_MEMORY = 2, CMD_MASTER = 4, CMD_PARITY = 0x40, CMD_SERR = 0x100, CMD_INTX_OFF = 0x400,
    STATUS_INTX = 8, STATUS_CAPS = 0x10, STATUS_W1C = 0xf900,
    HEADER_MULTI = 0x80,
    BRIDGE_PARITY = 1, BRIDGE_SERR = 2, BRIDGE_RESET = 0x40, BRIDGE_MASTER_ABORT = 0x20,
    CAP_PM = 1, CAP_SLOT_ID = 4, CAP_MSI = 5, CAP_VENDOR = 9, CAP_SSVID = 0xd, CAP_EXPRESS = 0x10, CAP_MSIX = 0x11,
    EXT_CAP_ACS = 0x0d,
};
/* Of the Express capability. */
enum {
    E_FLAGS = 2, E_DEVCAP = 4, E_DEVCTL = 8, E_DEVSTA = 0xa, E_LNKCAP = 0xc, E_LNKCTL = 0x10, E_LNKSTA = 0x12,
    E_SLTCAP = 0x14, E_SLTCTL = 0x18, E_SLTSTA = 0x1a, E_RTCTL = 0x1c, E_RTCAP = 0x1e, E_RTSTA = 0x20,
    E_DEVCAP2 = 0x24, E_DEVCTL2 = 0x28, E_LNKCAP2 = 0x2c, E_LNKCTL2 = 0x30, E_SIZE = 0x3c,
    PORT_ENDPOINT = 0, PORT_ROOT = 4, PORT_UPSTREAM = 5, PORT_DOWNSTREAM = 6, PORT_TO_PCI = 7, PORT_INTEGRATED = 9,
    FLAGS_SLOT = 0x100, DEVCAP_ROLE_ERRORS = 1 << 15, DEVCAP_FLR = 1 << 28, DEVCTL_FLR = 1 << 15,
    LNKCAP_ACTIVE = 1 << 20, LNKSTA_ACTIVE = 1 << 13,
};

/* ---- host.c */
typedef struct PciHost {
    Device dev;
    PciHostConfig c;
    PciBus root;
    Region ecam, mmio, high, pio;       /* the windows answer all ones where no BAR is */
    pthread_mutex_t intx_lock;          /* a leaf but for what irq_set takes */
    unsigned intx_count[4];             /* functions that drive the line */
} PciHost;

/* ---- config.c */
/* Header, masks and defaults of a function that is being placed. */
void pci_config_init(PciDevice *d);
/* Registers of `initial` again, msi and intx off. */
void pci_config_reset(PciDevice *d);
void pci_bridge_header(PciDevice *d);       /* type 1 */
/* All of config[] was loaded: it takes effect, but for what a guest's write would set off. */
void pci_config_loaded(PciDevice *d);
static inline unsigned pci_config_size(const PciDevice *d) { return d->express ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE; }
static inline bool pci_is_bridge(const PciDevice *d) { return (d->config[R_HEADER] & 0x7f) == 1; }
static inline bool pci_touches(unsigned off, unsigned len, unsigned reg, unsigned n) { return off < reg + n && reg < off + len; }
static inline unsigned pci_slot(const PciDevice *d) { return d->devfn >> 3; }
static inline unsigned pci_fn(const PciDevice *d) { return d->devfn & 7; }

/* ---- bars.c */
void pci_remap(PciDevice *d);               /* maps what the registers say, of it and of all below it */
void pci_unmap(PciDevice *d);               /* its own BARs, for good */
MUST_USE Err *pci_rom_load(PciDevice *d);   /* romfile= */
bool pci_bars_written(PciDevice *d, unsigned off, unsigned len);

/* ---- bus.c */
void pci_bus_init(PciBus *b, struct PciHost *host, PciDevice *bridge, const char *name);
void pci_bus_clear(PciBus *b);
/* The function that a configuration access by bus number finds, or NULL. */
PciDevice *pci_find(PciBus *root, uint8_t bus, uint8_t devfn);
/* Calls fn for each function on the bus, not below. */
void pci_each(PciBus *b, void (*fn)(PciDevice *));

/* ---- intx.c, msi.c, msix.c */
void pci_intx_update(PciDevice *d);         /* Interrupt Disable was written, or the function is gone */
void msi_written(PciDevice *d, unsigned off, unsigned len);
void msi_config_read(PciDevice *d, unsigned off, unsigned len);
void msi_reset(PciDevice *d);
void msi_free(PciDevice *d);
void msix_written(PciDevice *d, unsigned off, unsigned len);
void msix_reset(PciDevice *d);
void msix_free(PciDevice *d);

uint32_t msi_pending(PciDevice *d);
void msi_set_pending(PciDevice *d, uint32_t pending);
void msix_save(PciDevice *d, struct StateOut *out);
MUST_USE Err *msix_load(PciDevice *d, struct StateIn *in);      /* before configuration space takes effect */

/* ---- saved.c: BusClass's */
void pci_save(Bus *bus, Device *dev, struct StateOut *out);
MUST_USE Err *pci_load(Bus *bus, Device *dev, struct StateIn *in);

/* ---- express.c */
/* Did that write ask for a function level reset? Then it was carried out. */
bool pcie_resets(PciDevice *d, unsigned off, unsigned len, uint32_t val);

/* ---- bridge.c */
typedef struct PciBridge {
    PciDevice pci;
    PciBus bus;                         /* the secondary one */
    bool in_reset;                      /* Secondary Bus Reset is set */
} PciBridge;
/* For a bridge's realize: header, ids, and its bus, named after its id. */
void pci_bridge_make(PciBridge *b, const PciIds *ids, bool express);
void pci_bridge_unmake(PciBridge *b);
MUST_USE Err *pci_bridge_loaded(Device *d);

/* ---- slot.c: a port's slot */
typedef struct PciSlotOps {
    Err *(*plug)(PciBus *, PciDevice *);        /* may it come now? before its realize */
    void (*plugged)(PciBus *, PciDevice *);
    Err *(*ask_unplug)(PciBus *, PciDevice *);
    void (*unplugged)(PciBus *, PciDevice *);   /* it is off the bus */
} PciSlotOps;

typedef struct PciPort {
    PciBridge bridge;
    uint8_t chassis, port;
    uint16_t slot;
    bool hotplug, has_power, no_acs;    /* has_power: software switches the slot's power */
    uint64_t io_reserve, mem_reserve, pref32_reserve, pref64_reserve;
    uint32_t bus_reserve;
    uint16_t control;                   /* Slot Control as it was before the write that is looked at */
    bool cause;                         /* an interrupt is asked for */
    int64_t asked;                      /* when the attention button was pressed; guest ns */
} PciPort;
MUST_USE Err *pci_slot_make(PciPort *p);    /* after pcie_cap */
void pci_slot_reset(PciPort *p);
void pci_slot_loaded(PciPort *p);           /* p->control, the link's state and the interrupt follow from configuration space */
void pci_slot_written(PciDevice *d, unsigned off, unsigned len);

#endif
