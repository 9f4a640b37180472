/* SPDX-License-Identifier: MIT */
/*
 * The guest that gdb is tried on: no operating system, machine and supervisor
 * mode, one function for each thing that a debugger does. Hart 0 runs main,
 * the others count. Devices of the board `virt`: the test finisher, the timer,
 * and virtio-rng by MMIO (virtio 1.2, 4.2) where there is one.
 */
typedef unsigned long u64;

#define FINISHER (*(volatile unsigned *)0x100000)
enum { HARTS = 8, PAGE = 4096 };

volatile u64 counter, watched, other, beats[HARTS], traps, ticks;
volatile unsigned char bytes[3 * PAGE] __attribute__((aligned(PAGE)));
volatile double real = 1.5;
u64 tables[2][512] __attribute__((aligned(PAGE)));

int add(int a, int b) { return a + b; }

__attribute__((noinline)) int leaf(int n)
{
    other = n;
    return n + 1;
}

__attribute__((noinline)) int middle(int n)
{
    return leaf(n * 2) + 3;
}

/* In a loop whose units are chained: a breakpoint in here has to take effect at once. */
__attribute__((noinline)) void turn(void)
{
    counter++;
    counter += 0;
}

__attribute__((noinline)) void store(u64 v) { watched = v; }
__attribute__((noinline)) u64 load(void) { return watched; }
__attribute__((noinline)) void swap_in(u64 v) { __sync_lock_test_and_set(&watched, v); }

__attribute__((noinline)) void misaligned(u64 v)
{
    *(volatile u64 *)(bytes + PAGE - 4) = v;
}

/* Called by trap_entry. */
__attribute__((noinline)) void on_trap(u64 cause, u64 epc, u64 tval)
{
    if (cause >> 63)
        ticks++;
    else
        traps++;
}

asm("       .pushsection .text.start, \"ax\"\n"
    "       .globl  _start, trap_entry, fault_here, wait_here, sret_here, after_sret, to_supervisor\n"
    "_start: la     gp, stacks\n"
    "       csrr    a0, mhartid\n"
    "       addi    t0, a0, 1\n"
    "       slli    t0, t0, 14\n"
    "       add     sp, gp, t0\n"
    "       la      t0, trap_entry\n"
    "       csrw    mtvec, t0\n"
    "       li      t0, 3 << 13\n"
    "       csrs    mstatus, t0\n"
    "       bnez    a0, 1f\n"
    "       call    main\n"
    "1:     call    others\n"
    "       .balign 4\n"
    "trap_entry:\n"
    "       .cfi_startproc\n"
    "       .cfi_signal_frame\n"
    "       addi    sp, sp, -144\n"
    "       .cfi_def_cfa 2, 144\n"
    "       sd      ra, 0(sp)\n"
    "       .cfi_offset 1, -144\n"
    "       sd      t0, 8(sp)\n sd t1, 16(sp)\n sd t2, 24(sp)\n sd a0, 32(sp)\n sd a1, 40(sp)\n sd a2, 48(sp)\n"
    "       sd      a3, 56(sp)\n sd a4, 64(sp)\n sd a5, 72(sp)\n sd a6, 80(sp)\n sd a7, 88(sp)\n"
    "       sd      t3, 96(sp)\n sd t4, 104(sp)\n sd t5, 112(sp)\n sd t6, 120(sp)\n"
    "       csrr    a0, mcause\n"
    "       csrr    a1, mepc\n"
    "       csrr    a2, mtval\n"
    "       sd      a1, 128(sp)\n"
    "       .cfi_offset 64, -16\n"
    "       .cfi_return_column 64\n"
    "       bltz    a0, 2f\n"
    "       addi    t0, a1, 4\n"
    "       csrw    mepc, t0\n"
    "       j       3f\n"
    "2:     li      t0, 0x02004000\n"
    "       li      t1, -1\n"
    "       sd      t1, 0(t0)\n"
    "3:     call    on_trap\n"
    "       ld      ra, 0(sp)\n"
    "       ld      t0, 8(sp)\n ld t1, 16(sp)\n ld t2, 24(sp)\n ld a0, 32(sp)\n ld a1, 40(sp)\n ld a2, 48(sp)\n"
    "       ld      a3, 56(sp)\n ld a4, 64(sp)\n ld a5, 72(sp)\n ld a6, 80(sp)\n ld a7, 88(sp)\n"
    "       ld      t3, 96(sp)\n ld t4, 104(sp)\n ld t5, 112(sp)\n ld t6, 120(sp)\n"
    "       addi    sp, sp, 144\n"
    "       mret\n"
    "       .cfi_endproc\n"
    "       .globl  faults\n"
    "faults: .cfi_startproc\n"
    "       addi    sp, sp, -16\n"
    "       .cfi_def_cfa_offset 16\n"
    "       sd      ra, 8(sp)\n"
    "       .cfi_offset 1, -8\n"
    "       .option push\n .option norvc\n"
    "fault_here:\n"
    "       ld      a0, 0(zero)\n"
    "       .option pop\n"
    "       ld      ra, 8(sp)\n"
    "       addi    sp, sp, 16\n"
    "       ret\n"
    "       .cfi_endproc\n"
    "       .globl  waits\n"
    "waits: .option push\n .option norvc\n"
    "wait_here:\n"
    "       wfi\n"
    "       nop\n"
    "       .option pop\n"
    "       ret\n"
    /* a0: where to; comes back by ecall, to ra */
    "to_supervisor:\n"
    "       li      t0, 1 << 8\n"
    "       csrs    sstatus, t0\n"
    "       csrw    sepc, a0\n"
    "sret_here:\n"
    "       sret\n"
    "after_sret:\n"
    "       nop\n"
    "       .popsection\n");
extern void faults(void), waits(void), to_supervisor(u64 where);

void others(void)
{
    u64 hart;

    asm volatile("csrr %0, mhartid" : "=r"(hart));
    for (;;) {
        asm volatile(".globl beat_here\nbeat_here:");
        beats[hart % HARTS]++;
    }
}

/* Supervisor mode, with page tables: 1 GiB at 0x3000000000 is the memory at 0x80000000, which is also where it is. */
__attribute__((noinline)) void supervisor(void)
{
    u64 alias = 0x3000000000;

    store(0x55);
    *(volatile u64 *)((u64)&watched - 0x80000000 + alias) = 0x66;       /* the same bytes by another address */
    for (;;)
        turn();
}

static void enter_supervisor(void)
{
    u64 leaf = 0x80000000 >> 12 << 10 | 0xcf;

    tables[0][2] = leaf;
    tables[0][0x3000000000 >> 30 & 511] = leaf;
    asm volatile("csrw pmpaddr0, %0; csrw pmpcfg0, %1" :: "r"(-1l), "r"(31l));
    asm volatile("csrw satp, %0; sfence.vma" :: "r"(8ul << 60 | (u64)tables[0] >> 12));
    to_supervisor((u64)supervisor);
}

__attribute__((noinline)) void timer_in(u64 ticks_ahead)
{
    *(volatile u64 *)0x02004000 = *(volatile u64 *)0x0200bff8 + ticks_ahead;
    asm volatile("csrs mie, %0; csrs mstatus, %1" :: "r"(1 << 7), "r"(1 << 3));
}

__attribute__((noinline)) void round_of_all(int n)
{
    for (int i = 0; i < 1000; i++)
        turn();
    middle(n);
    store(n);
    load();
    swap_in(n + 1);
    misaligned(n);
    real = real * 2 / add(n, 1);
}

/* Code that the guest writes: li a0, n; ret. A breakpoint in it outlives each writing. */
asm("       .pushsection .text\n"
    "       .balign 4\n"
    "       .globl  rewritten\n"
    "rewritten: .skip 8, 0\n"
    "       .popsection\n");
extern unsigned short rewritten[];
volatile u64 sum;

__attribute__((noinline)) void rewrite(int n)
{
    int (*code)(void) = (int (*)(void))rewritten;

    *(volatile unsigned short *)&rewritten[0] = 0x4501 | (n & 15) << 2;
    *(volatile unsigned short *)&rewritten[1] = 0x8082;
    asm volatile("fence.i" ::: "memory");
    sum += code();
}

/* A device that stores to memory: random bytes to random[], without interrupts. */
typedef struct Desc { u64 addr; unsigned len; unsigned short flags, next; } Desc;
struct { Desc desc[1]; unsigned short avail[4]; unsigned used[4]; } ring __attribute__((aligned(16)));
volatile unsigned char random[64];
enum { SLOTS = 0x10001000, ID = 2, STATUS = 28, FEATURES = 8, SELECT = 9, QUEUE = 12, SIZE = 14, READY = 17, NOTIFY = 20, ADDRS = 32 };

static volatile unsigned *find_rng(void)
{
    volatile unsigned *r = (volatile unsigned *)SLOTS;

    for (int i = 0; i < 8; i++, r += PAGE / 4)
        if (r[ID] == 4)
            return r;
    return 0;
}

static void start_rng(volatile unsigned *r)
{
    u64 at[] = { (u64)ring.desc, (u64)ring.avail, (u64)ring.used };

    r[STATUS] = 0;
    r[STATUS] = 3;
    r[SELECT] = 1;
    r[FEATURES] = 1;        /* VERSION_1 */
    r[STATUS] = 11;
    r[QUEUE] = 0;
    r[SIZE] = 1;
    for (int i = 0; i < 3; i++) {
        r[ADDRS + 4 * i] = at[i];
        r[ADDRS + 4 * i + 1] = at[i] >> 32;
    }
    r[READY] = 1;
    r[STATUS] = 15;
}

__attribute__((noinline)) void random_in(void)
{
    volatile unsigned *r = find_rng();
    volatile unsigned short *used = (volatile unsigned short *)ring.used;
    unsigned short before;

    if (!r)
        return;
    if (r[STATUS] != 15)
        start_rng(r);
    before = used[1];
    ring.desc[0] = (Desc){ (u64)random, sizeof(random), 2, 0 };
    ring.avail[2] = 0;
    asm volatile("fence" ::: "memory");
    *(volatile unsigned short *)&ring.avail[1] = before + 1;
    asm volatile("fence" ::: "memory");
    r[NOTIFY] = 0;
    while (used[1] == before)
        ;
}

volatile int mode;      /* a test sets it: 1 faults, 2 wfi, 3 supervisor, 4 the end, 5 a device stores, 6 code is rewritten */
volatile u64 turns;     /* a measurement sets it: that many, and then the end */

asm(".globl unused\nunused: .skip 256, 1\n");       /* nobody calls it */

__attribute__((noinline)) void ready(void) { asm volatile(""); }

void main(void)
{
    ready();
    for (u64 n = turns; n; n--) {
        turn();
        if (n == 1)
            FINISHER = 0x5555;
    }
    for (int n = 0;; n++) {
        round_of_all(n);
        if (mode == 1)
            faults();
        if (mode == 2) {
            timer_in(100000);
            waits();
        }
        if (mode == 3)
            enter_supervisor();
        if (mode == 4)
            FINISHER = 0x3333 | 7 << 16;
        if (mode == 5)
            random_in();
        if (mode == 6)
            rewrite(n);
    }
}

char stacks[HARTS << 14] __attribute__((aligned(16)));
