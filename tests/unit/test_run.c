/* SPDX-License-Identifier: MIT */
/* `lyre run`: options, and the command lines that files of each kind come to, on a host that is made up. */
#include "cmd/run/run.h"

#include <string.h>

#include "tests/unit/test.h"

static const char *there;       /* the one firmware that this host has, or NULL */
static unsigned busy;           /* a port in use */

static bool exists(const char *path)
{
    return there && strstr(path, there);
}

static unsigned free_port(unsigned from)
{
    return from == busy ? from + 1 : from;
}

static const RunHost host = { exists, free_port, UINT64_C(8) << 30, 16 };

/* The plan's text, or the error's; in lines. */
static char *plan(const Media *m, const char *line)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    RunPlan p = { 0 };
    RunArgs a;
    char *text;
    Err *e = run_args_parse(&a, g_strv_length(argv), argv);

    if (!e)
        e = run_plan(&a, m, &host, &p);
    text = e ? g_strdup_printf("%s\n%s", err_text(e), err_hint_text(e) ? err_hint_text(e) : "") : run_plan_text(&p);
    err_free(e);
    run_plan_clear(&p);
    run_args_clear(&a);
    return text;
}

static void expect(const Media *m, const char *line, const char *const *parts)
{
    g_autofree char *text = plan(m, line);

    for (; *parts; parts++) {
        if (!strstr(text, *parts))
            printf("%s: no '%s' in:\n%s\n", line, *parts, text);
        CHECK(strstr(text, *parts) != NULL);
    }
}
#define EXPECT(m, line, ...) expect(m, line, (const char *const[]){ __VA_ARGS__, NULL })

static const Media disk = { .kind = MEDIA_DISK, .format = "qcow2", .isa = "riscv64", .efi = true, .bootable = true };
static const Media plain = { .kind = MEDIA_DISK, .format = "raw" };
static const Media iso = { .kind = MEDIA_ISO, .format = "raw", .isa = "riscv64", .efi = true, .bootable = true };
static const Media kernel = { .kind = MEDIA_KERNEL, .isa = "riscv64" };
static const Media arm = { .kind = MEDIA_DISK, .format = "raw", .isa = "aarch64", .why = "of the EFI boot loader on it", .bootable = true };

static void test_disks(void)
{
    there = "u-boot.bin";
    EXPECT(&disk, "run a.qcow2", "lyre-system-riscv64 \\\n", "-M virt", "-smp 4", "-m 2048M", "u-boot.bin",
           "file=a.qcow2,format=qcow2,discard=unmap", "virtio-blk-pci,drive=disk0,bootindex=0",
           "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22", "virtio-net-pci,netdev=net0", "-nographic");
    EXPECT(&disk, "run -m 512M --cpus=2 a,b.img --snapshot --disk c.img", "-m 512M", "-smp 2", "file=a,,b.img,format=qcow2,snapshot=on",
           "file=c.img,snapshot=on", "drive=disk1");
    EXPECT(&disk, "run it's.img", "'if=none,id=disk0,file=it'\\''s.img");
    EXPECT(&plain, "run root.img --isa riscv64 -k Image", "-kernel Image", "-append 'console=ttyS0 root=/dev/vda rw'");
    EXPECT(&plain, "run root.img --isa riscv64", "has no partition table", "--kernel FILE");
    EXPECT(&plain, "run root.img", "does not say what kind of machine", "--isa riscv64");
    EXPECT(&arm, "run a.img", "is for aarch64 (because of the EFI boot loader on it)", "There is riscv64");
    EXPECT(&iso, "run x.iso", "virtio-scsi-pci", "media=cdrom", "file=x.iso", "scsi-cd,bus=scsi0.0,drive=cd0,bootindex=1");
    there = "RISCV_VIRT_CODE";
    EXPECT(&disk, "run a.img", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/qemu-efi-riscv64");
    EXPECT(&disk, "run a.img --firmware u-boot", "none is installed", "apt install u-boot-qemu");
    EXPECT(&disk, "run a.img --firmware ./fw.bin", "-kernel ./fw.bin");
    EXPECT(&disk, "run a.img --firmware seabios", "no firmware of that name", "There are u-boot, edk2");
    there = NULL;
    EXPECT(&disk, "run a.img", "needs firmware", "apt install u-boot-qemu");
}

static void test_kernels(void)
{
    EXPECT(&kernel, "run Image --initrd i.gz --append quiet", "-kernel Image", "-initrd i.gz", "-append quiet");
    EXPECT(&kernel, "run Image", "-append console=ttyS0 \\");
    EXPECT(&kernel, "run Image --disk a.img", "-append 'console=ttyS0 root=/dev/vda rw'", "drive=disk0");
    EXPECT(&kernel, "run Image -k other", "is a kernel already");
    EXPECT(&disk, "run a.img --append x", "belongs to a kernel");
    EXPECT(&kernel, "run Image -- -device edu -s", "-device edu", "-s\n");
}

static void test_network(void)
{
    busy = 2222;
    EXPECT(&kernel, "run Image", "127.0.0.1:2223-:22");
    EXPECT(&kernel, "run Image --ssh 2222", "in use");
    EXPECT(&kernel, "run Image --ssh=2300", "127.0.0.1:2300-:22");
    EXPECT(&kernel, "run Image --ssh none", "-netdev user,id=net0 \\");
    EXPECT(&kernel, "run Image --ssh 99999", "not a port");
    EXPECT(&kernel, "run Image --ssh x", "not a port");
    EXPECT(&kernel, "run Image --share /nowhere", "no such folder");
    EXPECT(&kernel, "run Image --share /tmp", "local,id=share0,path=/tmp", "virtio-9p-pci,fsdev=share0,mount_tag=share");
    busy = 0;
}

static void test_words(void)
{
    EXPECT(&kernel, "run", "needs a disk image");
    EXPECT(&kernel, "run a b", "there are two: 'a' and 'b'", "--disk b");
    EXPECT(&kernel, "run a --shh 3", "no option '--shh'", "--ssh");
    EXPECT(&kernel, "run a --memory", "--memory needs a value");
    EXPECT(&kernel, "run a --explain=1", "--explain has no value");
    EXPECT(&kernel, "run a --isa sparc", "no guest of that name");
}

int main(void)
{
    RUN(test_disks);
    RUN(test_kernels);
    RUN(test_network);
    RUN(test_words);
    return test_end();
}
