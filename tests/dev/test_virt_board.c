/* SPDX-License-Identifier: MIT */
/*
 * riscv64 `virt` as a whole: its device tree, what -kernel, -initrd, -bios, -dtb
 * and -device loader put where, options and their errors, resets.
 */
#include <libfdt.h>
#include <elf.h>
#include <zlib.h>

#include "hw/board/riscv_virt.h"
#include "tests/dev/rig.h"

#define RAM UINT64_C(0x80000000)
#define MIB (UINT64_C(1) << 20)

static Rig rig, *r = &rig;

static uint64_t peek64(uint64_t at)
{
    uint64_t v = 0;

    CHECK_EQ(space_read(r->vm->mem, at, &v, 8), MEM_OK);
    return v;
}

/* The device tree in guest memory, found as the firmware finds it. */
static const void *tree(void)
{
    uint64_t at = peek64(0x1020);
    const void *p = space_ram(r->vm->mem, at, 4096, false, NULL, NULL);

    CHECK(p && !fdt_check_header(p));
    return p;
}

static const void *prop(const void *t, const char *path, const char *name, int *len)
{
    int node = fdt_path_offset(t, path), n = 0;
    const void *p = node < 0 ? NULL : fdt_getprop(t, node, name, &n);

    if (!p)
        printf("no %s in %s\n", name, path), test_case_bad++, p = "";
    if (len)
        *len = n;
    return p;
}

static uint32_t cell(const void *t, const char *path, const char *name, int i)
{
    int len;
    const fdt32_t *p = prop(t, path, name, &len);

    return len >= 4 * (i + 1) ? fdt32_ld(p + i) : 0xdeadbeef;
}

static void refuses(const char *text)
{
    CHECK(rig_says(rig_try_board(r), text));
    CHECK(!r->vm->board);
    rig_free(r);
}

/* ---- tree */

static void test_tree(void)
{
    rig_init(r);
    rig_board(r);
    const void *t = tree();
    CHECK_STR(prop(t, "/", "compatible", NULL), "riscv-virtio");
    CHECK_EQ(cell(t, "/cpus", "timebase-frequency", 0), 10000000);
    CHECK_EQ(cell(t, "/memory@80000000", "reg", 3), 64 * MIB);
    CHECK_EQ(cell(t, "/cpus/cpu@1", "reg", 0), 1);
    CHECK(g_str_has_prefix(prop(t, "/cpus/cpu@0", "riscv,isa", NULL), "rv64imafdc"));
    CHECK(g_str_has_prefix(prop(t, "/cpus/cpu@0", "mmu-type", NULL), "riscv,sv"));
    CHECK_EQ(cell(t, "/cpus/cpu@1", "riscv,cbom-block-size", 0), 64);
    CHECK_EQ(cell(t, "/cpus/cpu@1", "riscv,cboz-block-size", 0), 64);
    CHECK_STR(prop(t, "/pmu", "compatible", NULL), "riscv,pmu");
    CHECK_EQ(cell(t, "/pmu", "riscv,event-to-mhpmcounters", 5), 0xfffffffc);     /* instructions: minstret, too */
    CHECK_EQ(cell(t, "/cpus/cpu-map/cluster0/core1", "cpu", 0), cell(t, "/cpus/cpu@1", "phandle", 0));
    CHECK_STR(prop(t, "/chosen", "stdout-path", NULL), "/soc/serial@10000000");
    uint32_t plic = cell(t, "/soc/plic@c000000", "phandle", 0);
    CHECK_EQ(cell(t, "/soc/serial@10000000", "interrupts", 0), 10);
    CHECK_EQ(cell(t, "/soc/serial@10000000", "interrupt-parent", 0), plic);
    CHECK_EQ(cell(t, "/soc/rtc@101000", "interrupts", 0), 11);
    CHECK_EQ(cell(t, "/soc/virtio_mmio@10008000", "interrupts", 0), 8);
    CHECK_EQ(cell(t, "/soc/plic@c000000", "riscv,ndev", 0), 96);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "interrupt-map", 4), plic);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "ranges", 14), 0x3000000);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "ranges", 15), 4);
    CHECK_EQ(cell(t, "/reboot", "regmap", 0), cell(t, "/soc/test@100000", "phandle", 0));
    CHECK_EQ(cell(t, "/reboot", "value", 0), 0x7777);
    CHECK_EQ(cell(t, "/poweroff", "value", 0), 0x5555);
    uint32_t intc = cell(t, "/cpus/cpu@1/interrupt-controller", "phandle", 0);
    CHECK_EQ(cell(t, "/soc/clint@2000000", "interrupts-extended", 4), intc);
    CHECK_EQ(cell(t, "/soc/clint@2000000", "interrupts-extended", 7), IRQ_MTI);
    CHECK_EQ(cell(t, "/soc/plic@c000000", "interrupts-extended", 6), intc);
    CHECK_EQ(cell(t, "/soc/plic@c000000", "interrupts-extended", 7), IRQ_SEI);
    int len;
    prop(t, "/chosen", "rng-seed", &len);
    CHECK_EQ(len, 32);
    uint8_t seed[32];
    memcpy(seed, prop(t, "/chosen", "rng-seed", NULL), 32);
    vm_reset(r->vm);
    CHECK(memcmp(seed, prop(t, "/chosen", "rng-seed", NULL), 32));   /* another one for the next boot */
    CHECK(fdt_path_offset(t, "/soc/mswi@2000000") < 0);
    CHECK(fdt_getprop(t, fdt_path_offset(t, "/chosen"), "bootargs", NULL) == NULL);
    rig_free(r);
}

/* With much memory, which costs nothing as long as nobody uses it. */
static void test_big_memory(void)
{
    rig_init(r);
    r->config.ram_size = UINT64_C(15) << 30;
    Err *e = rig_try_board(r);
    if (e) {                                    /* the host may refuse */
        CHECK(rig_says(e, "cannot allocate 15 GiB"));
        rig_free(r);
        return;
    }
    vm_reset(r->vm);
    const void *t = tree();
    CHECK_EQ(cell(t, "/memory@80000000", "reg", 2), 3);
    CHECK_EQ(cell(t, "/memory@80000000", "reg", 3), 0xc0000000);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "ranges", 15), 8);        /* behind the end of RAM at 17 GiB */
    CHECK(peek64(0x1020) < UINT64_C(3) << 30);
    rig_free(r);
}

static void test_aclint_tree(void)
{
    rig_init(r);
    r->config.machine_opts = (char *)"aclint=on,aia=none,acpi=off";
    rig_board(r);
    const void *t = tree();
    CHECK_STR(prop(t, "/soc/mswi@2000000", "compatible", NULL), "riscv,aclint-mswi");
    CHECK_EQ(cell(t, "/soc/mtimer@2004000", "reg", 1), 0x200bff8);
    CHECK_EQ(cell(t, "/soc/mtimer@2004000", "reg", 5), 0x2004000);
    CHECK_STR(prop(t, "/soc/sswi@2f00000", "compatible", NULL), "riscv,aclint-sswi");
    CHECK(fdt_path_offset(t, "/soc/clint@2000000") < 0);
    rig_free(r);
}

/* As QEMU 7.2 has them, and as Linux's bindings want them. */
static void test_aia_tree(void)
{
    rig_init(r);
    r->config.machine_opts = (char *)"aia=aplic";
    rig_board(r);
    const void *t = tree();
    const char *root = "/soc/aplic@c000000", *leaf = "/soc/aplic@d000000";
    CHECK_STR(prop(t, leaf, "compatible", NULL), "riscv,aplic");
    uint32_t wired = cell(t, leaf, "phandle", 0);
    CHECK_EQ(cell(t, root, "riscv,children", 0), wired);
    CHECK_EQ(cell(t, root, "riscv,delegation", 0), wired);
    CHECK_EQ(cell(t, root, "riscv,delegation", 2), 96);
    CHECK_EQ(cell(t, root, "interrupts-extended", 1), IRQ_MEI);
    CHECK_EQ(cell(t, leaf, "interrupts-extended", 3), IRQ_SEI);
    CHECK_EQ(cell(t, "/soc/serial@10000000", "interrupt-parent", 0), wired);
    CHECK_EQ(cell(t, "/soc/serial@10000000", "interrupts", 1), 4);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "interrupt-map", 4), wired);
    CHECK_EQ(cell(t, "/soc/pci@30000000", "interrupt-map", 7 + 5), 33);
    CHECK(fdt_path_offset(t, "/soc/plic@c000000") < 0 && fdt_path_offset(t, "/soc/imsics@28000000") < 0);
    CHECK(!strstr(prop(t, "/cpus/cpu@0", "riscv,isa", NULL), "aia"));
    CHECK_EQ(virt_msi_phandle((RiscvVirt *)r->vm->board), 0);
    rig_free(r);

    rig_init(r);
    r->config.machine_opts = (char *)"aia=aplic-imsic,aclint=on,aia-guests=0";
    rig_board(r);
    t = tree();
    const char *imsic = "/soc/imsics@28000000";
    CHECK_STR(prop(t, imsic, "compatible", NULL), "riscv,imsics");
    CHECK_EQ(cell(t, imsic, "riscv,num-ids", 0), 255);
    CHECK_EQ(cell(t, imsic, "reg", 3), RIG_HARTS * 0x1000);
    CHECK_EQ(cell(t, imsic, "interrupts-extended", 3), IRQ_SEI);
    CHECK_EQ(cell(t, leaf, "msi-parent", 0), cell(t, imsic, "phandle", 0));
    CHECK_EQ(cell(t, root, "msi-parent", 0), cell(t, "/soc/imsics@24000000", "phandle", 0));
    CHECK_EQ(virt_msi_phandle((RiscvVirt *)r->vm->board), cell(t, imsic, "phandle", 0));
    CHECK(strstr(prop(t, "/cpus/cpu@1", "riscv,isa", NULL), "_smaia_ssaia_"));
    /* Harts interrupt each other by messages: of the ACLINT the timers are left. */
    CHECK_EQ(cell(t, "/soc/mtimer@2000000", "reg", 1), 0x2007ff8);
    CHECK(fdt_path_offset(t, "/soc/mswi@2000000") < 0 && fdt_path_offset(t, "/soc/sswi@2f00000") < 0);
    CHECK(rd(r, 0x2007ff8, 8) > 0);
    rig_free(r);
}

static void test_options(void)
{
    rig_init(r);
    r->config.machine = (char *)"vrit";
    refuses("Did you mean 'virt'?");
    rig_init(r);
    r->config.machine_opts = (char *)"aclnt=on";
    refuses("Did you mean 'aclint'?");
    rig_init(r);
    r->config.machine_opts = (char *)"aclint=maybe";
    refuses("aclint");
    rig_init(r);
    r->config.machine_opts = (char *)"aia=aplic-imsic,aia-guests=1";
    refuses("need the hypervisor extension (H)");
    rig_init(r);
    r->config.machine_opts = (char *)"aia=x";
    refuses("It may be: none, aplic, aplic-imsic");
    rig_init(r);
    r->config.machine_opts = (char *)"acpi=x";
    refuses("It may be: auto, on, off");
    rig_init(r);
    r->config.smp = 513;
    refuses("at most 512 CPUs");
    rig_init(r);
    r->config.rtc_base = (char *)"yesterday";
    refuses("is not a date");
    rig_init(r);
    r->config.machine_opts = (char *)"usb=on";
    refuses("no USB controller");
    rig_init(r);
    r->config.machine_opts = (char *)"memory-backend=x";
    refuses("only 'riscv_virt_board.ram'");
    rig_init(r);
    r->config.machine_opts = (char *)"mem-mrge=on";
    refuses("Did you mean 'mem-merge'?");
    rig_init(r);
    r->config.machine_opts = (char *)"usb=off,dump-guest-core=off,mem-merge=on,memory-backend=riscv_virt_board.ram";
    rig_board(r);
    rig_free(r);
    char *help = board_help("riscv64");
    CHECK(strstr(help, "virt                 RISC-V VirtIO board"));
    g_free(help);
}

/* ---- files */

static char *kernel_file(uint32_t image_size, size_t len, uint64_t flags)
{
    uint8_t *k = g_malloc0(len);
    uint64_t words[4] = { 0, 0x200000, image_size, flags };

    memcpy(k, words, sizeof(words));
    memcpy(k + 48, "RISCV\0\0\0RSC\x05", 12);
    if (len > 64)
        k[len - 1] = 0x77;
    char *path = rig_file(k, len);
    g_free(k);
    return path;
}

static void test_kernel(void)
{
    char *kernel = kernel_file(8 * MIB, 5000, 0), *initrd = rig_file("initrd!", 7);

    rig_init(r);
    r->config.kernel = kernel;
    r->config.initrd = initrd;
    r->config.append = (char *)"console=ttyS0 x=\"y z\"";
    rig_board(r);
    CHECK_EQ(r->cpus[0].env->pc, 0x1000);
    CHECK_EQ(r->cpus[1].env->pc, 0x1000);
    CHECK_EQ(peek64(0x1018), RAM);              /* without firmware the kernel is at the start of RAM */
    CHECK_EQ(peek64(RAM + 16), 8 * MIB);
    CHECK_EQ(peek64(0x1028), 0x4942534f);
    CHECK_EQ(peek64(0x1030), 2);
    CHECK_EQ(peek64(0x1038), RAM);
    CHECK_EQ(peek64(0x1040), 1);
    const void *t = tree();
    CHECK_STR(prop(t, "/chosen", "bootargs", NULL), "console=ttyS0 x=\"y z\"");
    uint64_t at = cell(t, "/chosen", "linux,initrd-start", 1);
    CHECK_EQ(at, RAM + 32 * MIB);
    CHECK_EQ(cell(t, "/chosen", "linux,initrd-end", 1), at + 7);
    CHECK_EQ(peek64(at) << 8 >> 8, peek64(at) << 8 >> 8 & 0xffffffffffffff);
    CHECK(!memcmp(space_ram(r->vm->mem, at, 7, false, NULL, NULL), "initrd!", 7));

    /* What the guest did to its image is undone by a reset, a hundred times. */
    uint64_t tree_at = peek64(0x1020), tree_word = peek64(tree_at + 64);
    for (int i = 0; i < 100; i++) {
        uint64_t junk = i;

        CHECK_EQ(space_write(r->vm->mem, RAM, &junk, 8), MEM_OK);
        CHECK_EQ(space_write(r->vm->mem, at, &junk, 8), MEM_OK);
        CHECK_EQ(space_write(r->vm->mem, tree_at + 64, &junk, 8), MEM_OK);
        r->cpus[1].env->pc = 0;
        vm_reset(r->vm);
        CHECK_EQ(r->cpus[1].env->pc, 0x1000);
        CHECK_EQ(peek64(RAM), 0);
        CHECK_EQ(peek64(tree_at + 64), tree_word);
        CHECK(!memcmp(space_ram(r->vm->mem, at, 7, false, NULL, NULL), "initrd!", 7));
    }
    rig_free(r);
    rig_unlink(kernel);
    rig_unlink(initrd);
}

static void test_kernel_errors(void)
{
    char *big = kernel_file(65 * MIB, 100, 0), *be = kernel_file(0, 100, 1), *ok = kernel_file(60 * MIB, 100, 0);
    char *initrd = rig_file(big, 5);

    rig_init(r);
    r->config.kernel = big;
    refuses("the kernel needs 68157440 bytes from 0x80000000, and RAM ends at 0x84000000");
    rig_init(r);
    r->config.kernel = be;
    refuses("big-endian");
    rig_init(r);
    r->config.kernel = (char *)"/nonexistent/kernel";
    refuses("-kernel: cannot open '/nonexistent/kernel': No such file");
    rig_init(r);
    r->config.kernel = (char *)"/usr";
    refuses("it is a directory");
    rig_init(r);
    r->config.initrd = initrd;
    refuses("-initrd needs a -kernel");
    rig_init(r);
    r->config.append = (char *)"x";
    refuses("-append needs a -kernel");
    rig_init(r);
    r->config.kernel = ok;
    r->config.initrd = initrd;
    r->config.ram_size = 4 * MIB;
    refuses("RAM ends at 0x80400000");
    /* A kernel up to the last 4 MiB: the tree has its 2 MiB, the initrd follows the kernel. */
    rig_init(r);
    r->config.kernel = ok;
    r->config.initrd = initrd;
    rig_board(r);
    CHECK_EQ(cell(tree(), "/chosen", "linux,initrd-start", 1), RAM + 60 * MIB);
    rig_free(r);
    /* And one more: the tree has no place. */
    rig_unlink(ok);
    ok = kernel_file(63 * MIB, 100, 0);
    rig_init(r);
    r->config.kernel = ok;
    refuses("overlap");
    rig_init(r);
    r->config.ram_size = 12345;
    refuses("multiple of 4096");
    rig_unlink(big);
    rig_unlink(be);
    rig_unlink(ok);
    rig_unlink(initrd);
}

static void test_gzip_kernel(void)
{
    char *plain = kernel_file(0, 300000, 0), *data, *path = g_strdup_printf("%s.gz", plain);
    gsize len;

    CHECK(g_file_get_contents(plain, &data, &len, NULL));
    gzFile gz = gzopen(path, "wb");
    gzwrite(gz, data, len);
    gzclose(gz);
    rig_init(r);
    r->config.kernel = path;
    rig_board(r);
    CHECK_EQ(peek64(RAM + 8), 0x200000);
    CHECK_EQ(peek64(RAM + 300000 - 8) >> 56, 0x77);
    rig_free(r);
    /* Cut short. */
    g_free(data);
    CHECK(g_file_get_contents(path, &data, &len, NULL));
    CHECK(g_file_set_contents(path, data, len - 10, NULL));
    rig_init(r);
    r->config.kernel = path;
    refuses("gzip data ends too early");
    data[len / 2] ^= 0x55;
    CHECK(g_file_set_contents(path, data, len, NULL));
    rig_init(r);
    r->config.kernel = path;
    refuses("gzip data");
    g_free(data);
    rig_unlink(plain);
    rig_unlink(path);
}

/* ---- firmware */

static char *elf_file(uint64_t entry, uint64_t vaddr, uint64_t paddr, uint64_t memsz)
{
    struct { Elf64_Ehdr h; Elf64_Phdr p; uint8_t code[16]; } f = {
        .h = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
               .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = entry,
               .e_phoff = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 },
        .p = { .p_type = PT_LOAD, .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), .p_vaddr = vaddr,
               .p_paddr = paddr, .p_filesz = 16, .p_memsz = memsz },
        .code = "0123456789abcde",
    };

    return rig_file(&f, sizeof(f));
}

static void test_firmware(void)
{
    char *raw = rig_file("firmware", 8), *elf = elf_file(RAM + 0x100, RAM, RAM, MIB), *kernel = kernel_file(0, 100, 0);

    rig_init(r);
    r->config.bios = raw;
    r->config.kernel = kernel;
    rig_board(r);
    CHECK_EQ(peek64(0x1018), RAM);
    CHECK_EQ(peek64(0x1038), RAM + 2 * MIB);    /* next_addr */
    CHECK_EQ(peek64(RAM), peek64(RAM) & UINT64_MAX);
    CHECK(!memcmp(space_ram(r->vm->mem, RAM, 8, false, NULL, NULL), "firmware", 8));
    CHECK_EQ(peek64(RAM + 2 * MIB + 8), 0x200000);
    rig_free(r);

    rig_init(r);
    r->config.bios = elf;
    rig_board(r);
    CHECK_EQ(peek64(0x1018), RAM + 0x100);
    CHECK_EQ(peek64(0x1038), 0);                /* nothing to go on with */
    /* Its bss is zero after each reset. */
    uint64_t junk = 1;
    CHECK_EQ(space_write(r->vm->mem, RAM + MIB - 8, &junk, 8), MEM_OK);
    vm_reset(r->vm);
    CHECK_EQ(peek64(RAM + MIB - 8), 0);
    rig_free(r);

    rig_init(r);
    r->config.bios = (char *)"/nonexistent";
    refuses("-bios: cannot open '/nonexistent'");
    rig_unlink(raw);
    rig_unlink(elf);
    rig_unlink(kernel);

    /* A kernel linked at virtual addresses: the entry is the physical one. */
    elf = elf_file(0xffffffff80000008, 0xffffffff80000000, RAM + 4 * MIB, 16);
    rig_init(r);
    r->config.kernel = elf;
    rig_board(r);
    CHECK_EQ(peek64(0x1018), RAM + 4 * MIB + 8);
    rig_free(r);
    rig_unlink(elf);
    elf = elf_file(0x1000, 0x1000, 0x1000, 16);     /* onto the boot ROM */
    rig_init(r);
    r->config.kernel = elf;
    refuses("overlap");
    rig_unlink(elf);
    elf = elf_file(0x10000000, 0x10000000, 0x10000000, 16);
    rig_init(r);
    r->config.kernel = elf;
    refuses("there is serial-mm at 0x10000000");
    rig_unlink(elf);
}

/* ---- -dtb, dumpdtb */

static void test_dtb(void)
{
    char *path = NULL;

    close(g_file_open_tmp("dtb-test-XXXXXX", &path, NULL));
    rig_init(r);
    r->config.dumpdtb = path;
    rig_board(r);
    CHECK_EQ(r->vm->request, VM_QUIT);
    rig_free(r);

    char *kernel = kernel_file(0, 100, 0);
    rig_init(r);
    r->config.dtb = path;
    r->config.kernel = kernel;
    r->config.append = (char *)"hello";
    rig_board(r);
    const void *t = tree();
    CHECK_STR(prop(t, "/chosen", "bootargs", NULL), "hello");
    CHECK_EQ(cell(t, "/memory@80000000", "reg", 3), 64 * MIB);
    rig_free(r);

    /* Every shorter and every damaged one is refused or taken, and nothing worse. */
    char *data;
    gsize len;
    uint64_t x = 42;
    CHECK(g_file_get_contents(path, &data, &len, NULL));
    for (int i = 0; i < 300; i++) {
        char *copy = g_memdup2(data, len);
        gsize n = i < 100 ? len * i / 100 : len;

        for (int j = 0; i >= 100 && j < 4; j++) {
            x = x * 6364136223846793005 + 1442695040888963407;
            copy[(x >> 33) % (i & 1 ? len : 72)] ^= 1 << (x >> 20 & 7);
        }
        CHECK(g_file_set_contents(path, copy, n, NULL));
        rig_init(r);
        r->config.dtb = path;
        Err *e = rig_try_board(r);
        if (i < 100)
            CHECK(e && strstr(err_text(e), "-dtb"));
        err_free(e);
        rig_free(r);
        g_free(copy);
    }
    g_free(data);
    rig_init(r);
    r->config.dumpdtb = (char *)"/nonexistent/x.dtb";
    refuses("dumpdtb: cannot write");
    rig_unlink(path);
    rig_unlink(kernel);
}

/* ---- -device */

static void with_device(const char *arg)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)arg);
}

static void device_refuses(const char *arg, const char *text)
{
    with_device(arg);
    CHECK(rig_says(rig_try_board(r), text));
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
}

static void test_loader_device(void)
{
    char *raw = rig_file("some bytes", 10), *elf = elf_file(RAM + 0x2004, RAM + 0x2000, RAM + 0x2000, 32);
    char *arg = g_strdup_printf("loader,id=l1,file=%s,addr=0x80001000", raw);

    with_device("loader,addr=0x80000100,data=0x1122334455667788,data-len=8");
    g_ptr_array_add(r->config.devices, arg);
    g_ptr_array_add(r->config.devices, (void *)"loader,addr=0x80000200,data=0x11223344,data-len=4,data-be=on");
    char *arg2 = g_strdup_printf("loader,file=%s,cpu-num=1", elf);
    g_ptr_array_add(r->config.devices, arg2);
    g_ptr_array_add(r->config.devices, (void *)"loader,addr=0x80000300,cpu-num=0");
    rig_board(r);
    for (int i = 0; i < 2; i++) {
        uint64_t junk = 0;

        CHECK_EQ(peek64(RAM + 0x100), 0x1122334455667788);
        CHECK_EQ(peek64(RAM + 0x200), 0x44332211);
        CHECK(!memcmp(space_ram(r->vm->mem, RAM + 0x1000, 10, false, NULL, NULL), "some bytes", 10));
        CHECK(!memcmp(space_ram(r->vm->mem, RAM + 0x2000, 10, false, NULL, NULL), "0123456789", 10));
        CHECK_EQ(r->cpus[1].env->pc, RAM + 0x2004);
        CHECK_EQ(r->cpus[0].env->pc, RAM + 0x300);
        CHECK_EQ(space_write(r->vm->mem, RAM + 0x100, &junk, 8), MEM_OK);
        vm_reset(r->vm);
    }
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
    g_free(arg);
    g_free(arg2);

    arg = g_strdup_printf("loader,file=%s,force-raw=on,addr=0x80000000", elf);
    with_device(arg);
    rig_board(r);
    CHECK_EQ(peek64(RAM) & 0xffffffff, 0x464c457f);
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
    g_free(arg);

    arg = g_strdup_printf("loader,file=%s", raw);
    device_refuses(arg, "it needs addr=");
    g_free(arg);
    device_refuses("loader,addr=0x80000000,data=1,data-len=9", "at most 8");
    device_refuses("loader,addr=0x80000000,cpu-num=2", "CPUs 0 to 1");
    device_refuses("loader,addr=0x80000000", "nothing to do");
    device_refuses("loader", "needs file= or addr=");
    device_refuses("loader,addr=0x70000000,data=1,data-len=4", "does not fit into memory");
    device_refuses("loader,addr=0xffffffffffffffff,data=1,data-len=4", "it needs file= or addr=");
    device_refuses("loader,adr=1", "Did you mean 'addr'?");
    device_refuses("loader,data-len=300", "out of range");
    device_refuses("loader,data-len=x", "data-len");
    device_refuses("loadr,addr=1", "Did you mean 'loader'?");
    device_refuses("serial-mm", "part of a board");
    device_refuses("", "there is no device ''");
    rig_unlink(raw);
    rig_unlink(elf);
}

static void test_device_help(void)
{
    char *text;

    CHECK(!device_help("help", &text));
    CHECK(text && strstr(text, "name \"loader\""));
    CHECK(text && !strstr(text, "serial-mm"));
    g_free(text);
    CHECK(!device_help("loader,help", &text));
    CHECK(text && strstr(text, "data-len=<uint8>"));
    g_free(text);
    CHECK(!device_help("loader,addr=1", &text));
    CHECK(!text);
    CHECK(rig_says(device_help("lodaer,help", &text), "Did you mean 'loader'?"));
}

int main(void)
{
    RUN(test_tree);
    RUN(test_big_memory);
    RUN(test_aclint_tree);
    RUN(test_aia_tree);
    RUN(test_options);
    RUN(test_kernel);
    RUN(test_kernel_errors);
    RUN(test_gzip_kernel);
    RUN(test_firmware);
    RUN(test_dtb);
    RUN(test_loader_device);
    RUN(test_device_help);
    return test_end();
}
