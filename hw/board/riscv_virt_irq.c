/* SPDX-License-Identifier: MIT */
/*
 * The interrupt controllers of riscv64 `virt`, as devices and as nodes of the
 * device tree: CLINT or ACLINT; PLIC, or APLIC, or APLIC and IMSICs (aia=).
 *
 * Sources have the same numbers whichever takes them. Not there: guest interrupt
 * files (aia-guests), which come with the hypervisor extension.
 */
#include "hw/board/riscv_virt.h"
#include "hw/time/time.h"
#include "target/riscv/imsic.h"
#include "target/riscv/state.h"

/* ---- devices */

/* Harts with IMSICs interrupt each other by messages: the ACLINT is its timers alone, at its beginning. */
static bool has_swi(const RiscvVirt *b)
{
    return !(b->aclint && b->aia == VIRT_AIA_APLIC_IMSIC);
}

static uint64_t mtimer_base(const RiscvVirt *b)
{
    return VIRT_CLINT + (has_swi(b) ? VIRT_MTIMER_OFF : 0);
}

static Err *make_clint(RiscvVirt *b)
{
    Vm *vm = b->machine.vm;

    if (has_swi(b))
        TRY(aclint_swi_make(vm, vm->nvcpus, false, VIRT_CLINT));
    TRY(aclint_mtimer_make(vm, vm->nvcpus, VIRT_TIME_HZ, mtimer_base(b)));
    if (b->aclint && has_swi(b))
        TRY(aclint_swi_make(vm, vm->nvcpus, true, VIRT_SSWI));
    return NULL;
}

Err *virt_irq_make(RiscvVirt *b)
{
    Vm *vm = b->machine.vm;
    bool msi = b->aia == VIRT_AIA_APLIC_IMSIC;

    if (b->aia_guests)
        return err_hint(err(ERR_UNSUPPORTED, "aia-guests=%u: guest interrupt files need the hypervisor extension (H), "
                            "which is not implemented yet", b->aia_guests), "aia-guests=0 is the default.");
    TRY(make_clint(b));
    if (!b->aia)
        return plic_make(vm, vm->nvcpus, VIRT_PLIC, &b->plic);
    if (msi) {
        TRY(imsic_make(vm, vm->nvcpus, true, VIRT_IMSIC_M));
        TRY(imsic_make(vm, vm->nvcpus, false, VIRT_IMSIC_S));
    }
    return aplic_make(vm, vm->nvcpus, msi, VIRT_APLIC_M, VIRT_APLIC_S, &b->aplic);
}

Irq virt_source(const RiscvVirt *b, int n)
{
    return b->aia ? (Irq){ aplic_set, b->aplic, n } : (Irq){ plic_set, b->plic, n };
}

/* ---- the device tree */

unsigned virt_irq_cells(const RiscvVirt *b, uint32_t n, uint32_t *cells)
{
    const uint32_t level_high = 4;      /* IRQ_TYPE_LEVEL_HIGH of the bindings */

    cells[0] = n;
    cells[1] = level_high;
    return b->aia ? 2 : 1;
}

uint32_t virt_msi_phandle(const RiscvVirt *b)
{
    return b->aia == VIRT_AIA_APLIC_IMSIC ? PH_IMSIC_S : 0;
}

/* interrupts-extended: for each hart the given interrupts of its own controller. */
static void write_hart_irqs(Fdt *f, int harts, int n, const uint32_t *irqs)
{
    uint32_t *cells = g_new(uint32_t, 2 * harts * n), *p = cells;

    for (int i = 0; i < harts; i++) {
        for (int j = 0; j < n; j++) {
            *p++ = virt_intc_phandle(i);
            *p++ = irqs[j];
        }
    }
    fdt_cells(f, "interrupts-extended", cells, 2 * harts * n);
    g_free(cells);
}

static void write_clint(Fdt *f, int harts)
{
    fdt_begin(f, "clint@%lx", VIRT_CLINT);
    fdt_texts(f, "compatible", "sifive,clint0\0riscv,clint0");
    fdt_reg(f, VIRT_CLINT, 0x10000);
    write_hart_irqs(f, harts, 2, (const uint32_t[]){ IRQ_MSI, IRQ_MTI });
    fdt_end(f);
}

static void write_swi(Fdt *f, int harts, const char *name, const char *compatible, uint64_t base, uint32_t irq)
{
    fdt_begin(f, "%s@%lx", name, base);
    fdt_text(f, "compatible", compatible);
    fdt_reg(f, base, 0x4000);
    write_hart_irqs(f, harts, 1, &irq);
    fdt_flag(f, "interrupt-controller");
    fdt_u32s(f, "#interrupt-cells", 0);
    fdt_end(f);
}

static void write_aclint(Fdt *f, const RiscvVirt *b)
{
    int harts = b->machine.vm->nvcpus;
    uint64_t timer = mtimer_base(b), mtime = timer + 0x7ff8;

    if (has_swi(b))
        write_swi(f, harts, "mswi", "riscv,aclint-mswi", VIRT_CLINT, IRQ_MSI);
    fdt_begin(f, "mtimer@%lx", timer);
    fdt_text(f, "compatible", "riscv,aclint-mtimer");
    fdt_u32s(f, "reg", mtime >> 32, mtime, 0, 8, timer >> 32, timer, 0, 0x7ff8);
    write_hart_irqs(f, harts, 1, (const uint32_t[]){ IRQ_MTI });
    fdt_end(f);
    if (has_swi(b))
        write_swi(f, harts, "sswi", "riscv,aclint-sswi", VIRT_SSWI, IRQ_SSI);
}

static void write_plic(Fdt *f, int harts)
{
    fdt_begin(f, "plic@%lx", VIRT_PLIC);
    fdt_texts(f, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
    fdt_u32s(f, "#address-cells", 0);
    fdt_u32s(f, "#interrupt-cells", 1);
    fdt_flag(f, "interrupt-controller");
    fdt_reg(f, VIRT_PLIC, 0x600000);
    fdt_u32s(f, "riscv,ndev", PLIC_SOURCES);
    write_hart_irqs(f, harts, 2, (const uint32_t[]){ IRQ_MEI, IRQ_SEI });
    fdt_u32s(f, "phandle", PH_WIRED);
    fdt_end(f);
}

static void write_imsic(Fdt *f, int harts, uint64_t base, uint32_t irq, uint32_t phandle)
{
    fdt_begin(f, "imsics@%lx", base);
    fdt_text(f, "compatible", "riscv,imsics");
    fdt_u32s(f, "#interrupt-cells", 0);
    fdt_flag(f, "interrupt-controller");
    fdt_flag(f, "msi-controller");
    fdt_u32s(f, "#msi-cells", 0);
    write_hart_irqs(f, harts, 1, &irq);
    fdt_reg(f, base, (uint64_t)harts * PAGE_SIZE);
    fdt_u32s(f, "riscv,num-ids", IMSIC_IDS);
    fdt_u32s(f, "phandle", phandle);
    fdt_end(f);
}

/* A domain: M's, which has S's as its child, or S's. */
static void write_aplic(Fdt *f, const RiscvVirt *b, bool mmode)
{
    uint64_t base = mmode ? VIRT_APLIC_M : VIRT_APLIC_S;

    fdt_begin(f, "aplic@%lx", base);
    fdt_text(f, "compatible", "riscv,aplic");
    fdt_u32s(f, "#address-cells", 0);
    fdt_u32s(f, "#interrupt-cells", 2);
    fdt_flag(f, "interrupt-controller");
    if (b->aia == VIRT_AIA_APLIC_IMSIC)
        fdt_u32s(f, "msi-parent", mmode ? PH_IMSIC_M : PH_IMSIC_S);
    else
        write_hart_irqs(f, b->machine.vm->nvcpus, 1, (const uint32_t[]){ mmode ? IRQ_MEI : IRQ_SEI });
    fdt_reg(f, base, APLIC_SIZE);
    fdt_u32s(f, "riscv,num-sources", APLIC_SOURCES);
    if (mmode) {
        fdt_u32s(f, "riscv,children", PH_WIRED);
        /* The binding's name, and that of firmware from before it was settled. */
        fdt_u32s(f, "riscv,delegation", PH_WIRED, 1, APLIC_SOURCES);
        fdt_u32s(f, "riscv,delegate", PH_WIRED, 1, APLIC_SOURCES);
    }
    fdt_u32s(f, "phandle", mmode ? PH_APLIC_M : PH_WIRED);
    fdt_end(f);
}

void virt_irq_nodes(const RiscvVirt *b, Fdt *f)
{
    int harts = b->machine.vm->nvcpus;

    if (b->aclint)
        write_aclint(f, b);
    else
        write_clint(f, harts);
    if (!b->aia) {
        write_plic(f, harts);
        return;
    }
    if (b->aia == VIRT_AIA_APLIC_IMSIC) {
        write_imsic(f, harts, VIRT_IMSIC_M, IRQ_MEI, PH_IMSIC_M);
        write_imsic(f, harts, VIRT_IMSIC_S, IRQ_SEI, PH_IMSIC_S);
    }
    write_aplic(f, b, true);
    write_aplic(f, b, false);
}
