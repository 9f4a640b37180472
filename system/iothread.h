/* SPDX-License-Identifier: MIT */
/*
 * I/O threads of a machine: each turns a Loop (util/loop.h). Disks have one,
 * the network has one, -object iothread makes more.
 *
 * They never take the machine lock: whoever holds it may wait for one of them
 * (iothread_run), so a device's work there uses guest memory (system/mem.h),
 * irq_set and msi_send, which need no lock, and asks vm_call_main for the rest.
 * Each turn of the loop is a safepoint: a Flat or a host pointer that was looked
 * up is not kept over one, but for pointers into RAM (REGION_RAM), which stays.
 */
#ifndef SYSTEM_IOTHREAD_H
#define SYSTEM_IOTHREAD_H

#include "system/vm.h"
#include "util/co.h"

typedef struct IoThread IoThread;

/* Started; in the machine's list. The name is copied; it must be free. Main thread. */
MUST_USE Err *iothread_new(Vm *vm, const char *name, IoThread **out);
/* Joins it; nothing of the loop may be in use any more. NULL is fine. */
void iothread_free(IoThread *t);
IoThread *iothread_find(Vm *vm, const char *name);      /* or NULL */
IoThread *iothread_next(Vm *vm, IoThread *after);       /* NULL: the first. Main thread, or under the machine lock */
const char *iothread_name(const IoThread *t);
Loop *iothread_loop(IoThread *t);
int iothread_id(const IoThread *t);     /* the host's number of the thread */
/* Runs fn(arg) there as a coroutine and waits for its end. Any other thread; the machine lock may be held. */
void iothread_run(IoThread *t, void (*fn)(void *), void *arg);
/* The same for a coroutine of any loop, which goes on meanwhile; in the thread itself it is a plain call. */
void iothread_visit(IoThread *t, void (*fn)(void *), void *arg);

#endif
