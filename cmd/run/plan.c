/* SPDX-License-Identifier: MIT */
/*
 * From what a file is to the emulator's command line: a modern guest on the
 * board `virt`, virtio on PCI, the user network with ssh forwarded from this
 * host alone, the console in this terminal.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cmd/run/run.h"
#include "target/isa.h"

#define MIB (UINT64_C(1) << 20)

enum { SSH_FROM = 2222, MOST_CPUS = 4, MOST_MEMORY = 2048 /* MiB */ };

/* ---- what of this host matters */

static bool exists_here(const char *path)
{
    return access(path, R_OK) == 0;
}

static bool is_free(unsigned port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool good = !bind(fd, (struct sockaddr *)&a, sizeof(a));
    close(fd);
    return good;
}

static unsigned free_port_here(unsigned from)
{
    for (unsigned port = from; port < from + 100 && port < 65536; port++)
        if (is_free(port))
            return port;
    return 0;
}

const RunHost run_this_host = { exists_here, free_port_here, 0, 0 };

static uint64_t host_memory(const RunHost *h)
{
    struct sysinfo s;

    return h->memory ? h->memory : sysinfo(&s) ? 4096 * MIB : (uint64_t)s.totalram * s.mem_unit;
}

/* ---- parts of the command line */

static void add(RunPlan *p, const char *option, char *value /* taken, or NULL */)
{
    g_ptr_array_add(p->argv, g_strdup(option));
    if (value)
        g_ptr_array_add(p->argv, value);
}

/* A comma within a value is written twice. */
static char *in_list(const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, ",", -1);

    return g_strjoinv(",,", parts);
}

static Err *choose_isa(const RunArgs *a, const Media *m, RunPlan *p)
{
    const char *isa = a->isa ? a->isa : m->isa;

    if (!isa)
        return err_hint(err(ERR_INVALID, "'%s' does not say what kind of machine it is for", a->file),
                        "It has no EFI boot loader and no partition that tells. Say it: --isa riscv64");
    for (const Isa *const *i = isas; *i; i++)
        if (!strcmp((*i)->name, isa))
            p->isa = (*i)->name;
    if (p->isa)
        return NULL;
    Err *e = a->isa ? err(ERR_NOT_FOUND, "--isa %s: there is no guest of that name", isa)
                    : err(ERR_UNSUPPORTED, "'%s' is for %s (because %s), and this program has no such guest yet", a->file, isa, m->why);
    return err_hint(e, "There is %s.", isas[0]->name);
}

/* Half of what the host has, at most 2 GiB; all its processors, at most four. */
static void add_size(const RunArgs *a, const RunHost *h, RunPlan *p)
{
    uint64_t half = host_memory(h) / 2 / MIB;
    unsigned cpus = h->cpus ? h->cpus : g_get_num_processors();

    add(p, "-smp", a->cpus ? g_strdup(a->cpus) : g_strdup_printf("%u", MIN(cpus, MOST_CPUS)));
    add(p, "-m", a->memory ? g_strdup(a->memory) : g_strdup_printf("%uM", (unsigned)MIN(half, MOST_MEMORY)));
}

typedef struct Firmware { const char *isa, *name, *path, *package; } Firmware;
static const Firmware firmwares[] = {
    { "riscv64", "u-boot", "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin", "u-boot-qemu" },
    { "riscv64", "u-boot", "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf", "u-boot-qemu" },
    { "riscv64", "edk2", "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "qemu-efi-riscv64" },
};

static const Firmware *find_firmware(const RunArgs *a, const RunHost *h, const char *isa)
{
    for (size_t i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        const Firmware *f = &firmwares[i];

        if (!strcmp(f->isa, isa) && (!a->firmware || !strcmp(a->firmware, f->name)) && h->exists(f->path))
            return f;
    }
    return NULL;
}

/* What finds the boot loader on a disk. OpenSBI comes before it by itself. */
static Err *add_firmware(const RunArgs *a, const Media *m, const RunHost *h, RunPlan *p)
{
    const Firmware *f = find_firmware(a, h, p->isa);

    if (a->firmware && strchr(a->firmware, '/')) {
        add(p, "-kernel", g_strdup(a->firmware));
        return NULL;
    }
    if (!m->bootable)
        return err_hint(err(ERR_INVALID, "'%s' has no partition table: there is nothing that firmware could start", a->file),
                        "Give the kernel to start it with: --kernel FILE");
    if (!f && a->firmware && strcmp(a->firmware, "u-boot") && strcmp(a->firmware, "edk2"))
        return err_hint(err(ERR_NOT_FOUND, "--firmware %s: there is no firmware of that name", a->firmware),
                        "There are u-boot, edk2, and a file's path.");
    if (!f)
        return err_hint(err(ERR_NOT_FOUND, "booting from a disk needs firmware, and none is installed"),
                        "apt install %s", a->firmware && !strcmp(a->firmware, "edk2") ? "qemu-efi-riscv64" : "u-boot-qemu");
    if (!strcmp(f->name, "edk2"))
        add(p, "-drive", g_strdup_printf("if=pflash,unit=0,format=raw,readonly=on,file=%s", f->path));
    else
        add(p, "-kernel", g_strdup(f->path));
    return NULL;
}

static void add_kernel(const RunArgs *a, const char *kernel, RunPlan *p)
{
    bool disk = a->disks->len || kernel != a->file;

    add(p, "-kernel", g_strdup(kernel));
    if (a->initrd)
        add(p, "-initrd", g_strdup(a->initrd));
    add(p, "-append", a->append ? g_strdup(a->append)
                                : g_strdup_printf("console=ttyS0%s", disk ? " root=/dev/vda rw" : ""));
}

static void add_disk(const RunArgs *a, const char *path, const char *format, unsigned n, RunPlan *p)
{
    g_autofree char *file = in_list(path);

    add(p, "-drive", g_strdup_printf("if=none,id=disk%u,file=%s%s%s%s", n, file, format ? ",format=" : "", format ? format : "",
                                     a->snapshot ? ",snapshot=on" : ",discard=unmap"));
    add(p, "-device", g_strdup_printf("virtio-blk-pci,drive=disk%u%s", n, n ? "" : ",bootindex=0"));
}

static void add_cd(const char *path, RunPlan *p)
{
    g_autofree char *file = in_list(path);

    add(p, "-device", g_strdup("virtio-scsi-pci,id=scsi0"));
    add(p, "-drive", g_strdup_printf("if=none,id=cd0,media=cdrom,readonly=on,format=raw,file=%s", file));
    add(p, "-device", g_strdup("scsi-cd,bus=scsi0.0,drive=cd0,bootindex=1"));
}

static Err *add_network(const RunArgs *a, const RunHost *h, RunPlan *p)
{
    bool none = a->ssh && !strcmp(a->ssh, "none");

    if (a->ssh && !none) {
        char *end;
        unsigned long port = strtoul(a->ssh, &end, 10);

        if (!*a->ssh || *end || port < 1 || port > 65535)
            return err_hint(err(ERR_INVALID, "--ssh %s: that is not a port", a->ssh), "1 to 65535, or none.");
        if (h->free_port((unsigned)port) != port)
            return err_hint(err(ERR_BUSY, "--ssh %s: that port of this host is in use, or not allowed", a->ssh),
                            "Without --ssh a free one is chosen.");
        p->ssh_port = (unsigned)port;
    } else if (!none) {
        p->ssh_port = h->free_port(SSH_FROM);
    }
    add(p, "-netdev", p->ssh_port ? g_strdup_printf("user,id=net0,hostfwd=tcp:127.0.0.1:%u-:22", p->ssh_port)
                                  : g_strdup("user,id=net0"));
    add(p, "-device", g_strdup("virtio-net-pci,netdev=net0"));
    return NULL;
}

static Err *add_share(const RunArgs *a, RunPlan *p)
{
    if (!a->share)
        return NULL;
    if (!g_file_test(a->share, G_FILE_TEST_IS_DIR))
        return err(ERR_NOT_FOUND, "--share %s: there is no such folder", a->share);
    g_autofree char *path = in_list(a->share);
    add(p, "-fsdev", g_strdup_printf("local,id=share0,path=%s,security_model=mapped-xattr", path));
    add(p, "-device", g_strdup("virtio-9p-pci,fsdev=share0,mount_tag=share"));
    return NULL;
}

/* ---- as a whole */

static Err *add_all(const RunArgs *a, const Media *m, const RunHost *h, RunPlan *p)
{
    const char *kernel = m->kind == MEDIA_KERNEL ? a->file : a->kernel;
    unsigned n = 0;

    if (m->kind == MEDIA_KERNEL && a->kernel)
        return err(ERR_INVALID, "'%s' is a kernel already: --kernel is for a disk", a->file);
    if ((a->initrd || a->append) && !kernel)
        return err(ERR_INVALID, "%s belongs to a kernel, and there is none", a->initrd ? "--initrd" : "--append");
    add(p, "-M", g_strdup("virt"));
    add_size(a, h, p);
    if (kernel)
        add_kernel(a, kernel, p);
    else
        TRY(add_firmware(a, m, h, p));
    if (m->kind == MEDIA_DISK)
        add_disk(a, a->file, m->format, n++, p);
    for (guint i = 0; i < a->disks->len; i++)
        add_disk(a, a->disks->pdata[i], NULL, n++, p);
    if (m->kind == MEDIA_ISO)
        add_cd(a->file, p);
    TRY(add_network(a, h, p));
    TRY(add_share(a, p));
    add(p, "-device", g_strdup("virtio-rng-pci"));
    add(p, "-nographic", NULL);
    for (char **r = a->rest; r && *r; r++)
        g_ptr_array_add(p->argv, g_strdup(*r));
    return NULL;
}

Err *run_plan(const RunArgs *a, const Media *m, const RunHost *h, RunPlan *out)
{
    *out = (RunPlan){ .argv = g_ptr_array_new_with_free_func(g_free) };
    Err *e = choose_isa(a, m, out);

    if (!e) {
        g_ptr_array_add(out->argv, g_strdup_printf("lyre-system-%s", out->isa));
        e = add_all(a, m, h, out);
    }
    if (e)
        run_plan_clear(out);
    else
        g_ptr_array_add(out->argv, NULL);
    return e;
}

void run_plan_clear(RunPlan *p)
{
    if (p->argv)
        g_ptr_array_free(p->argv, TRUE);
    p->argv = NULL;
}

/* Quoted only where a shell needs it. */
static void quote(GString *s, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=,./:+@%";

    if (*word && !word[strspn(word, plain)]) {
        g_string_append(s, word);
    } else {
        g_autofree char *q = g_shell_quote(word);
        g_string_append(s, q);
    }
}

char *run_plan_text(const RunPlan *p)
{
    GString *s = g_string_new(NULL);

    for (guint i = 0; i + 1 < p->argv->len; i++) {
        const char *word = p->argv->pdata[i];

        g_string_append(s, !i ? "" : word[0] == '-' ? " \\\n    " : " ");
        quote(s, word);
    }
    g_string_append_c(s, '\n');
    return g_string_free(s, FALSE);
}
