/* SPDX-License-Identifier: MIT */
/*
 * Vm: one machine. Everything hangs from it, so that two can live in a process.
 * The machine lock guards devices, spaces under edit and the run state. vCPU
 * threads run guest code without it and take it for accesses to devices.
 */
#ifndef SYSTEM_VM_H
#define SYSTEM_VM_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "system/clock.h"
#include "system/mem.h"
#include "util/err.h"

typedef struct Vcpu Vcpu;
typedef struct Isa Isa;
typedef struct Accel Accel;
typedef struct VmConfig VmConfig;

typedef enum RunState {
    RUN_PRELAUNCH, RUN_RUNNING, RUN_PAUSED, RUN_SHUTDOWN, RUN_DEBUG, RUN_INTERNAL_ERROR, RUN_WATCHDOG, RUN_GUEST_PANICKED,
    RUN_IO_ERROR,
    RUN_FINISH_MIGRATE,     /* it stands while the last of it is sent */
    RUN_POSTMIGRATE,        /* it has been sent, and runs elsewhere; it may be told to go on here */
} RunState;

/* What set-action has chosen, each one more than its value in VmConfig; 0: as the configuration has it. Machine lock. */
typedef struct VmActions { int no_reboot, no_shutdown, panic, watchdog; } VmActions;

typedef struct Vm {
    const VmConfig *config;
    const Isa *isa;
    const Accel *accel; void *accel_state;      /* accel/ owns what it points to */
    void *board;                                /* hw/board owns */
    Space *mem;                                 /* what vCPUs and DMA see */
    RamBlock *rams;
    Vcpu **vcpus; int nvcpus;
    pthread_mutex_t lock, gate; /* who waits for the lock holds the gate: see vm_lock */
    _Atomic int waiters;
    _Atomic RunState state;
    _Atomic bool early;         /* -preconfig: neither reset nor loaded, and most commands are too early */
    struct Clocks *clocks;                      /* system/clock.c */
    GMainContext *main_context;                 /* of the main loop; a source that touches the machine takes the lock */
    struct MsiClaim *_Atomic msis;              /* system/msi.c: who takes message-signalled interrupts */
    GPtrArray *resets;                          /* system/reset: what system_reset calls, in order */
    void (*power_button)(struct Vm *);
    void (*nmi)(struct Vm *);                   /* the board's; NULL: it has no such interrupt */
    VmActions actions;
    GPtrArray *state_hooks;                     /* vm_on_state's */
    /* cmd/ owns: what -chardev and -serial made; the board binds serials[i] to its i-th port. Set before board_make */
    struct Chardevs *chardevs; struct Chardev **serials; int nserials;
    GPtrArray *fsdevs;                          /* hw/9p/fsdev.h: folders that guests may see; NULL: none */
    bool clock_stands;                          /* while it runs too: a debugger steps it */
    struct Dump *dump;                          /* dump/dump.h: the latest; NULL: there was none */
    struct Gdb *gdb;                            /* gdb/gdb.h; NULL: no debugger's stub */
    char *(*monitor_line)(struct Vm *, const char *line);       /* cmd/ sets: what the monitor says to it, g_free it; NULL: no monitor */
    struct Disks *disks;                        /* system/disks.h; NULL in machines that have none (tests) */
    struct Net *net; struct IoThread *net_thread;       /* net/net.h, and what turns its loop */
    struct IoThread *iothreads;                 /* system/iothread.h: all, a list */
    struct Rng *rngs;                           /* system/rng.h: all, a list */
    struct State *saving;                       /* system/state.h: parts that are saved, and migration. Made when it is used */
    bool loading;                               /* a reset comes before a load: memory images are not wanted */
    _Atomic bool remade;                        /* by a reset or a state that is loaded: what is stored now, no device stores */
    GPtrArray *objects;                         /* system/objects.h: what -object and object-add made; NULL: nothing */
    const struct CrashNote *crash_note;           /* system/vmcoreinfo.h; NULL: no device for it */
    struct Yanks *yanks;                        /* util/yank.h: what may hang for want of a peer */
    struct FdSets *fdsets;                      /* util/fdset.h: -add-fd's and add-fd's; NULL in tests */
    char *(*device_path)(void *device);         /* monitor/ sets: where a Device is in the tree that management sees; g_free it. NULL: no monitor */
    struct Monitors *monitors;                  /* monitor/monitor.h; NULL: none */
    /* Takes data (may be NULL); any thread. NULL: nobody hears of events */
    void (*on_event)(void *opaque, const char *name, json_t *data); void *event_opaque;
    const char *_Atomic cause;                  /* of the latest request, as SHUTDOWN and RESET tell it; a constant */
    /* asked for by any thread (vm_request); carried out in the main thread by vm_main */
    _Atomic int request, exit_status;
    _Atomic RunState stop_as;                   /* what a machine is that VM_STOP has stopped; RUN_PRELAUNCH: RUN_PAUSED */
    struct Call *_Atomic calls;                 /* of vm_call_main, the latest first */
    struct Call *due;                           /* those being made, the oldest first; machine lock */
} Vm;

Vm *vm_new(const VmConfig *config);     /* NULL with errno: the host gave no descriptors */
void vm_free(Vm *vm);
void vm_lock(Vm *vm);           /* not recursive; vm_locked tells, for asserts */
void vm_unlock(Vm *vm);
bool vm_locked(const Vm *vm);   /* by this thread */

/* The n-th serial port's other end, or NULL. */
static inline struct Chardev *vm_serial(const Vm *vm, int n)
{
    return n < vm->nserials ? vm->serials[n] : NULL;
}

/* Run state. start/stop in the main thread under the lock; stop returns when every vCPU stands. */
void vm_start(Vm *vm);
void vm_stop(Vm *vm, RunState why);

/* What a guest or a user asks of the whole machine; any thread, never waits. */
typedef enum VmRequest { VM_QUIT = 1, VM_RESET = 2, VM_POWEROFF = 4, VM_PANIC = 8, VM_DEBUG = 16, VM_STOP = 32 } VmRequest;
void vm_request(Vm *vm, VmRequest what, int status /* exit status of QUIT, POWEROFF */);

/* VM_STOP, and what the machine is then: RUN_WATCHDOG .. */
void vm_request_stop(Vm *vm, RunState as);

/* The same, with a reason for events: "host-qmp-quit", "host-signal" .. (a constant). vm_request: the guest's, or the user's. */
void vm_request_by(Vm *vm, VmRequest what, int status, const char *cause);

bool vm_stays(const Vm *vm);            /* a poweroff ends the guest and not the process: -no-shutdown. Machine lock */

/* Tells whoever watches the machine (QMP events): name and members as in monitor/schema. Takes data. Any thread. */
void vm_event(Vm *vm, const char *name, json_t *data);

/* Runs the main loop until the machine is quit; returns the process's exit status. Obeys -no-reboot, -no-shutdown. */
int vm_main(Vm *vm);
/* One turn of that loop, waiting for something to happen or not; false: the machine shall end. Lock not held. */
bool vm_turn(Vm *vm, bool wait);
/* Resets vCPUs, devices and memory images. Main thread, under the lock, all vCPUs standing. */
void vm_reset(Vm *vm);

/* Called when the machine begins to run and when it has stopped (all vCPUs stand), in the main thread, under the lock. */
void vm_on_state(Vm *vm, void (*fn)(void *opaque, bool runs), void *opaque);
void vm_off_state(Vm *vm, void *opaque);        /* that opaque's hooks are gone */
/* Called at each system reset, in order of registration, under the lock with all vCPUs standing. */
void vm_on_reset(Vm *vm, void (*fn)(void *opaque), void *opaque);

/* Runs fn in the main thread soon (under the machine lock). Any thread. */
void vm_call_main(Vm *vm, void (*fn)(void *opaque), void *opaque);
/* Calls with that opaque are not made any more; nobody makes new ones. Under the machine lock. */
void vm_forget_calls(Vm *vm, void *opaque);
/* Takes one out that is not made: what it would have been called with; NULL: there is none. */
void *vm_take_call(Vm *vm, void (*fn)(void *));
/*
 * The same once every vCPU has been between two instructions and every I/O thread between two turns of its loop:
 * what none can hold any more is freed there. Main thread, or under the machine lock.
 */
void vm_after_safepoint(Vm *vm, void (*fn)(void *opaque), void *opaque);

#endif
