/* SPDX-License-Identifier: MIT */
/*
 * Files that were given as a kernel or firmware by mistake: what they are, by
 * their first bytes, and how to get from them to what can be run. Magic numbers
 * are those of the formats' own descriptions; Linux: Documentation/arch/{arm64,x86}
 * and drivers/firmware/efi/libstub (zboot).
 */
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "hw/core/loader.h"

typedef struct Kind {
    unsigned at, len;
    const char *magic;
    const char *what, *mend;
} Kind;

static const Kind kinds[] = {
    { 56, 4, "ARM\x64", "a Linux kernel for AArch64", "A kernel for this machine's architecture is needed." },
    { 0x202, 4, "HdrS", "a Linux kernel for x86", "A kernel for this machine's architecture is needed." },
    { 36, 4, "\x18\x28\x6f\x01", "a Linux kernel for 32-bit Arm", "A kernel for this machine's architecture is needed." },
    { 0, 6, "\xfd" "7zXZ\0", "a file packed by xz", "Unpack it first: xz -dk FILE" },
    { 0, 4, "\x28\xb5\x2f\xfd", "a file packed by zstd", "Unpack it first: zstd -dk FILE" },
    { 4, 6, "1AY&SY", "a file packed by bzip2", "Unpack it first: bunzip2 -k FILE" },
    { 0, 4, "\x04\x22\x4d\x18", "a file packed by lz4", "Unpack it first: lz4 -dk FILE" },
    { 0, 4, "\x27\x05\x19\x56", "a U-Boot image (uImage)", "dumpimage, of u-boot-tools, takes the kernel out of it." },
    { 0, 4, "\xd0\x0d\xfe\xed", "a device tree, or a FIT image", "A device tree belongs to -dtb." },
    { 0, 4, "QFI\xfb", "a disk image (qcow2)", "A disk is given with -drive file=FILE, or by its name alone." },
    { 0x8001, 5, "CD001", "a CD image", "It is given with -cdrom FILE." },
    { 0, 6, "070701", "a cpio archive", "An initial RAM disk belongs to -initrd." },
    { 0, 8, "!<arch>\n", "an archive (a package or a library)", "Take the kernel out of it first, for a package with dpkg-deb -x." },
};

static bool has(const Blob *b, const Kind *k)
{
    return b->len >= k->at + k->len && !memcmp(b->data + k->at, k->magic, k->len);
}

/* EFI zboot: "MZ", 2 zero bytes, "zimg", offset and length of the payload, 8 bytes, how it is packed. */
static Err *zboot(const Blob *b)
{
    uint32_t off, len;

    if (b->len < 64 || memcmp(b->data, "MZ\0\0zimg", 8))
        return NULL;
    memcpy(&off, b->data + 8, 4);
    memcpy(&len, b->data + 12, 4);
    return err_hint(err(ERR_UNSUPPORTED, "it is an EFI kernel that unpacks itself (zboot), which only UEFI firmware starts"),
                    "The kernel in it, packed by %.8s, can be used: tail -c +%" PRIu64 " FILE | head -c %" PRIu32 " > Image.packed",
                    (const char *)b->data + 24, (uint64_t)off + 1, len);
}

Err *blob_refuse_known(const Blob *b)
{
    if (!b->len)
        return err_hint(err(ERR_INVALID, "it is empty"), "Was it copied or downloaded completely?");
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (has(b, &kinds[i]))
            return err_hint(err(ERR_INVALID, "it is %s", kinds[i].what), "%s", kinds[i].mend);
    return zboot(b);
}

const char *elf_machine_name(unsigned machine)
{
    static const struct { unsigned machine; const char *name; } names[] = {
        { EM_RISCV, "RISC-V" }, { EM_X86_64, "x86-64" }, { EM_386, "x86" }, { EM_AARCH64, "AArch64" },
        { EM_ARM, "Arm" }, { EM_PPC64, "PowerPC 64" }, { EM_PPC, "PowerPC" }, { EM_MIPS, "MIPS" },
        { EM_S390, "s390" }, { EM_SPARCV9, "SPARC 64" }, { EM_68K, "68000" }, { 258, "LoongArch" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (names[i].machine == machine)
            return names[i].name;
    return "an unknown one";
}
