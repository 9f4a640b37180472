/* SPDX-License-Identifier: MIT */
/*
 * Random programs on qemu-riscv64 (user mode). A batch is one static ELF of one
 * segment: for each program code that loads a Context, the program, code that
 * stores the Context; at the end a write(2) of all Contexts. The interpreter
 * runs the same image at the same addresses.
 */
#ifndef TESTS_RAND_QEMU_H
#define TESTS_RAND_QEMU_H

#include <elf.h>

enum { QEMU_PROGRAMS = 1000, QEMU_IMAGE = 8 << 20, CODE_ROOM = 3 << 20, SCRATCH = BASE_REG };
static const uint64_t QEMU_BASE = 0x400000;
#define QEMU_CPU "rv64,zba=true,zbb=true,zbc=true,zbs=true,zbkb=true,zbkc=true,zbkx=true," \
                 "zknd=true,zkne=true,zknh=true,Zfhmin=true"

typedef struct QemuProgram {
    uint64_t seed;
    uint32_t code, end;         /* offsets in the image: first instruction, first after the last */
    uint32_t ctx;
    int count;
} QemuProgram;

typedef struct QemuRun {
    Machine *k;
    char *elf;                  /* file names */
    uint32_t at;                /* where the next instruction goes */
    QemuProgram programs[QEMU_PROGRAMS]; int n;
    Context starts[QEMU_PROGRAMS], results[QEMU_PROGRAMS];
} QemuRun;

static void qemu_free(QemuRun *q)
{
    unlink(q->elf);
    g_free(q->elf);
    g_free(q);
}

/* ---- making the image */

static void qemu_emit(QemuRun *q, unsigned row, unsigned rd, unsigned rs1, unsigned rs2, int32_t imm)
{
    RvInsn i = { .rd = rd, .rs1 = rs1, .rs2 = rs2, .imm = imm };
    uint32_t w = rv_encode(row, &i);

    memcpy(q->k->image + q->at, &w, 4);
    q->at += 4;
}

/* reg = address of image offset `to` */
static void qemu_address(QemuRun *q, unsigned reg, uint32_t to)
{
    int32_t d = to - q->at;

    qemu_emit(q, RV_OP_auipc, reg, 0, 0, (int32_t)((d + 0x800) & 0xfffff000));
    qemu_emit(q, RV_OP_addi, reg, reg, 0, (int32_t)((uint32_t)d << 20) >> 20);
}

static void qemu_load_all(QemuRun *q, uint32_t ctx)
{
    qemu_address(q, SCRATCH, ctx);
    for (int n = 0; n < 32; n++)
        qemu_emit(q, RV_OP_fld, n, SCRATCH, 0, offsetof(Context, f) + 8 * n);
    qemu_emit(q, RV_OP_ld, 1, SCRATCH, 0, offsetof(Context, x));
    qemu_emit(q, RV_OP_csrrw, 0, 1, 0, 3);
    for (int n = 1; n < 32; n++)
        if (n != SCRATCH)
            qemu_emit(q, RV_OP_ld, n, SCRATCH, 0, offsetof(Context, x) + 8 * n);
    qemu_emit(q, RV_OP_ld, SCRATCH, SCRATCH, 0, offsetof(Context, x) + 8 * SCRATCH);
}

static void qemu_store_all(QemuRun *q, uint32_t ctx)
{
    qemu_address(q, SCRATCH, ctx);
    for (int n = 1; n < 32; n++)
        if (n != SCRATCH)
            qemu_emit(q, RV_OP_sd, 0, SCRATCH, n, offsetof(Context, x) + 8 * n);
    for (int n = 0; n < 32; n++)
        qemu_emit(q, RV_OP_fsd, 0, SCRATCH, n, offsetof(Context, f) + 8 * n);
    qemu_emit(q, RV_OP_csrrs, 1, 0, 0, 3);
    qemu_emit(q, RV_OP_sd, 0, SCRATCH, 1, offsetof(Context, x));
}

/* write(1, contexts, size), exit(0) */
static void qemu_finish(QemuRun *q)
{
    uint32_t bytes = q->n * sizeof(Context);

    qemu_emit(q, RV_OP_addi, 10, 0, 0, 1);
    qemu_address(q, 11, CODE_ROOM);
    qemu_emit(q, RV_OP_lui, 12, 0, 0, (int32_t)((bytes + 0x800) & 0xfffff000));
    qemu_emit(q, RV_OP_addi, 12, 12, 0, (int32_t)(bytes << 20) >> 20);
    qemu_emit(q, RV_OP_addi, 17, 0, 0, 64);
    qemu_emit(q, RV_OP_ecall, 0, 0, 0, 0);
    qemu_emit(q, RV_OP_addi, 10, 0, 0, 0);
    qemu_emit(q, RV_OP_addi, 17, 0, 0, 93);
    qemu_emit(q, RV_OP_ecall, 0, 0, 0, 0);
}

/* Appends one random program; its instructions, 0 if it did not work out. */
static int qemu_add(QemuRun *q, Generator *g)
{
    QemuProgram *p = &q->programs[q->n];
    Context *start = &q->starts[q->n];
    uint32_t before = q->at;

    p->seed = g->seed;
    p->ctx = CODE_ROOM + q->n * sizeof(Context);
    random_context(g, start, QEMU_BASE + p->ctx + offsetof(Context, buf) + BUF_HALF);
    memcpy(q->k->image + p->ctx, start, sizeof(*start));
    qemu_load_all(q, p->ctx);
    p->code = q->at;
    unsigned bytes = random_program(g, program_size, QEMU_BASE + q->at, q->k->image + q->at, &p->count);
    if (!bytes) {
        q->at = before;
        return 0;
    }
    q->at += bytes;
    p->end = q->at;
    qemu_store_all(q, p->ctx);
    q->n++;
    return p->count;
}

/* ---- running it there */

static bool qemu_write_elf(QemuRun *q)
{
    Elf64_Ehdr h = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = QEMU_BASE,
        .e_phoff = sizeof(h), .e_flags = 5 /* RVC, double-float ABI */, .e_ehsize = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
    };
    uint64_t size = CODE_ROOM + q->n * sizeof(Context);
    Elf64_Phdr p = {
        .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = 4096, .p_vaddr = QEMU_BASE,
        .p_paddr = QEMU_BASE, .p_filesz = size, .p_memsz = size, .p_align = 4096,
    };
    int fd = open(q->elf, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    bool ok = fd >= 0 && !fchmod(fd, 0700) && pwrite(fd, &h, sizeof(h), 0) == sizeof(h) && pwrite(fd, &p, sizeof(p), sizeof(h)) == sizeof(p)
        && pwrite(fd, q->k->image, size, 4096) == (ssize_t)size;

    if (fd >= 0)
        close(fd);
    return ok;
}

/* Runs the batch and reads all contexts back. */
static bool qemu_execute(QemuRun *q)
{
    size_t want = q->n * sizeof(Context), got = 0;
    int fds[2], status;
    ssize_t n;

    if (!qemu_write_elf(q) || pipe(fds))
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(fds[1], 1);
        if (!verbose)
            dup2(null, 2);
        close(fds[0]);
        alarm(120);
        execlp("qemu-riscv64", "qemu-riscv64", "-cpu", QEMU_CPU, q->elf, NULL);
        _exit(127);
    }
    close(fds[1]);
    while (got < want && (n = read(fds[0], (char *)q->results + got, want - got)) > 0)
        got += n;
    close(fds[0]);
    waitpid(pid, &status, 0);
    return got == want && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- running it here */

static bool qemu_compare(QemuRun *q, Generator *g, int n)
{
    Machine *k = q->k;
    QemuProgram *p = &q->programs[n];
    uint8_t keep[4], *end = k->image + p->end, *buf = k->image + p->ctx + offsetof(Context, buf);
    Context ours, theirs = q->results[n];

    machine_drop_units(k);
    memcpy(keep, end, 4);
    memcpy(end, "\x73\x00\x10\x00", 4);         /* ebreak */
    load_context(k, &q->starts[n], 3);
    Stop stop = machine_run(k, run_interp, QEMU_BASE + p->code);
    save_context(k, &ours, buf);
    memcpy(end, keep, 4);
    memset(theirs.pad, 0, sizeof(theirs.pad));
    theirs.x[SCRATCH] = ours.x[SCRATCH];        /* it held the address of the Context */
    if (!memcmp(&ours, &theirs, sizeof(ours)) && !stop.stuck && stop.cause == EXC_BREAK && stop.pc == QEMU_BASE + p->end)
        return true;
    Generator again = *g;
    Context start;
    uint8_t bytes[4 * PROGRAM_MAX];
    again.seed = p->seed;
    random_context(&again, &start, q->starts[n].x[BASE_REG]);
    random_program(&again, program_size, QEMU_BASE + p->code, bytes, &p->count);
    printf("we and qemu-riscv64 differ: program %d of its batch, --seed %#" PRIx64 "\n", n, p->seed);
    print_program(&again, QEMU_BASE + p->code);
    if (verbose)
        print_start(&q->starts[n]);
    printf("  ours stops at %" PRIx64 ", cause %d, tval %" PRIx64 "\n", stop.pc, (int)stop.cause, stop.tval);
    print_differences(&ours, &theirs, "ours", "qemu");
    return false;
}

/* Returns instructions, or -1: QEMU did not run to the end. */
static int64_t qemu_batch(QemuRun *q, Generator *g, int64_t insns, int *bad)
{
    int64_t done = 0;

    memset(q->k->image, 0, q->k->size);
    q->n = 0;
    q->at = 0;
    while (q->n < QEMU_PROGRAMS && done < insns && q->at < CODE_ROOM - 8192)
        done += qemu_add(q, g);
    qemu_finish(q);
    if (!qemu_execute(q))
        return -1;
    for (int n = 0; n < q->n && *bad < 3; n++)
        *bad += !qemu_compare(q, g, n);
    return done;
}

static QemuRun *qemu_new(void)
{
    QemuRun *q = g_new0(QemuRun, 1);
    int fd = g_file_open_tmp("riscv-rand-XXXXXX", &q->elf, NULL);

    if (fd >= 0)
        close(fd);
    q->k = machine_new(QEMU_BASE, QEMU_IMAGE);
    qemu_finish(q);
    if (fd >= 0 && qemu_execute(q))
        return q;
    qemu_free(q);
    return NULL;
}

#endif
