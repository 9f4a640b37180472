/* SPDX-License-Identifier: MIT */
/*
 * The switch of stacks (co-stack.h): x86-64, System V psABI 3.2.1. Six
 * registers and the stack pointer; the return is a jump, as the processor's
 * stack of return addresses knows nothing of ours.
 */
#include "util/co-stack.h"

#include <stdint.h>

asm(".text\n"
    ".p2align 4\n"
    ".globl co_stack_switch\n"
    ".type co_stack_switch, @function\n"
    "co_stack_switch:\n"
    "    .cfi_startproc\n"
    "    push %rbp\n"
    "    push %rbx\n"
    "    push %r12\n"
    "    push %r13\n"
    "    push %r14\n"
    "    push %r15\n"
    "    .cfi_adjust_cfa_offset 48\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15\n"
    "    pop %r14\n"
    "    pop %r13\n"
    "    pop %r12\n"
    "    pop %rbx\n"
    "    pop %rbp\n"
    "    .cfi_adjust_cfa_offset -48\n"
    "    pop %rcx\n"
    "    .cfi_adjust_cfa_offset -8\n"
    "    .cfi_register %rip, %rcx\n"
    "    jmp *%rcx\n"
    "    .cfi_endproc\n"
    ".size co_stack_switch, . - co_stack_switch\n"
    /* Where a new stack begins: debuggers find no caller. */
    ".p2align 4\n"
    ".type co_stack_begin, @function\n"
    "co_stack_begin:\n"
    "    .cfi_startproc\n"
    "    .cfi_undefined %rip\n"
    "    mov %r12, %rdi\n"
    "    xor %ebp, %ebp\n"
    "    call *%rbx\n"
    "    ud2\n"
    "    .cfi_endproc\n"
    ".size co_stack_begin, . - co_stack_begin\n");

void co_stack_begin(void);

void *co_stack_make(void *top, void (*fn)(void *), void *arg)
{
    uintptr_t *sp = top;

    *--sp = 0;                              /* keeps the stack aligned at the call */
    *--sp = 0;
    *--sp = (uintptr_t)co_stack_begin;
    *--sp = 0;                              /* rbp */
    *--sp = (uintptr_t)fn;                  /* rbx */
    *--sp = (uintptr_t)arg;                 /* r12 */
    *--sp = 0;
    *--sp = 0;
    *--sp = 0;                              /* r15 */
    return sp;
}
