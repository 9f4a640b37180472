/* SPDX-License-Identifier: MIT */
/*
 * A guest without an operating system, for the RISC-V `virt` board in M mode:
 *
 *     lyre-system-riscv64 -M virt -nographic -bios none -kernel hello.elf
 *
 * It greets on the serial port, says back a line that is typed (it waits ten
 * seconds), counts primes, and powers the machine off. Devices: 16550 UART at
 * 0x10000000, test finisher at 0x100000, time CSR at 10 MHz.
 *
 * rv64im without compressed instructions and relaxation, so that every
 * assembler makes the same bytes of it; hello.lst is what they are.
 * s0 = UART, s1 = the line buffer and later the sieve, behind the program.
 */
        .option norvc
        .option norelax
        .text
        .globl  _start

        .equ    TICKS_PER_MS, 10000
        .equ    LINE_MAX, 72
        .equ    LSR, 5                  /* UART line status: 1 = byte here, 0x20 = may send */

_start: .word   0xf14022f3              /* csrr t0, mhartid */
        bnez    t0, park                /* one hart is enough */
        lui     s0, 0x10000
        lla     sp, stack_top
        lla     s1, work
        lla     a0, greeting
        jal     print
        jal     read_line
        lla     a0, you_said
        beqz    s2, 1f
        jal     print
        mv      a0, s1
        jal     print
        lla     a0, quote
        j       2f
1:      lla     a0, nothing
2:      jal     print

        lla     a0, counting
        jal     print
        .word   0xc0102973              /* rdtime s2 */
        jal     primes
        .word   0xc01029f3              /* rdtime s3 */
        jal     print_number
        lla     a0, primes_in
        jal     print
        sub     a0, s3, s2
        li      t0, TICKS_PER_MS
        divu    a0, a0, t0
        jal     print_number
        lla     a0, bye
        jal     print

        lui     t0, 0x100               /* finisher: 0x5555 = off, status 0 */
        li      t1, 0x5555
        sw      t1, 0(t0)
park:   wfi
        j       park

/* print: the string at a0, ended by a zero byte */
print:  lbu     t0, 0(a0)
        beqz    t0, 2f
1:      lbu     t1, LSR(s0)
        andi    t1, t1, 0x20
        beqz    t1, 1b
        sb      t0, 0(s0)
        addi    a0, a0, 1
        j       print
2:      ret

/* print_number: a0 in decimal */
print_number:
        addi    sp, sp, -48
        sd      ra, 40(sp)
        addi    t2, sp, 39
        sb      zero, 0(t2)
        li      t1, 10
1:      remu    t0, a0, t1
        divu    a0, a0, t1
        addi    t0, t0, '0'
        addi    t2, t2, -1
        sb      t0, 0(t2)
        bnez    a0, 1b
        mv      a0, t2
        jal     print
        ld      ra, 40(sp)
        addi    sp, sp, 48
        ret

/* read_line: a typed line to s1, echoed; s2 = its length, 0 after ten silent seconds */
read_line:
        li      s2, 0
        .word   0xc01023f3              /* rdtime t2 */
        lui     t0, 24414               /* about 100,000,000 ticks */
        add     t2, t2, t0
1:      .word   0xc01022f3              /* rdtime t0 */
        bgtu    t0, t2, 3f
        lbu     t0, LSR(s0)
        andi    t0, t0, 1
        beqz    t0, 1b
        lbu     t0, 0(s0)
        li      t1, '\r'
        beq     t0, t1, 3f
        li      t1, '\n'
        beq     t0, t1, 3f
        li      t1, ' '
        bltu    t0, t1, 1b              /* no other control characters */
        li      t1, LINE_MAX
        bgeu    s2, t1, 1b
        add     t1, s1, s2
        sb      t0, 0(t1)
        addi    s2, s2, 1
        sb      t0, 0(s0)               /* a typist is slower than the UART */
        j       1b
3:      add     t1, s1, s2
        sb      zero, 0(t1)
        ret

/* primes: a0 = how many there are below 1,000,000; the sieve is at s1 */
primes: li      t0, 1000000
        add     t1, s1, t0              /* its end */
        mv      t2, s1
1:      sb      zero, 0(t2)
        addi    t2, t2, 1
        bltu    t2, t1, 1b
        li      a0, 0
        li      t3, 2
2:      add     t2, s1, t3
        lbu     t4, 0(t2)
        bnez    t4, 4f
        addi    a0, a0, 1
        mul     t5, t3, t3              /* cross out from its square on */
        bgeu    t5, t0, 4f
        add     t5, s1, t5
        li      t6, 1
3:      sb      t6, 0(t5)
        add     t5, t5, t3
        bltu    t5, t1, 3b
4:      addi    t3, t3, 1
        bltu    t3, t0, 2b
        ret

greeting:
        .ascii  "\r\nHello from a 64-bit RISC-V guest: no firmware, no kernel, just this.\r\n"
        .asciz  "Type a line, then Enter: "
you_said:
        .asciz  "\r\nYou said \""
quote:  .asciz  "\".\r\n"
nothing:
        .asciz  "\r\nYou said nothing, which is fine.\r\n"
counting:
        .asciz  "Counting primes below 1000000 ... "
primes_in:
        .asciz  ", in "
bye:    .asciz  " ms.\r\nPowering off.\r\n"

        .balign 16
work:   .equ    stack_top, work + 0x200000
