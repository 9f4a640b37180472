/* SPDX-License-Identifier: MIT */
/*
 * What the files of the stub share. Threads of the protocol are vCPUs, numbered
 * from 1, of the one process 1.
 */
#ifndef GDB_GDB_PRIV_H
#define GDB_GDB_PRIV_H

#include <inttypes.h>

#include "accel/debug.h"
#include "chardev/chardev.h"
#include "gdb/gdb.h"
#include "gdb/packet.h"
#include "target/isa.h"

/* Signals as the protocol numbers them. */
enum { GDB_SIGINT = 2, GDB_SIGQUIT = 3, GDB_SIGABRT = 6, GDB_SIGTRAP = 5 };
/* qqemu.sstep */
enum { SSTEP_ENABLE = 1, SSTEP_NOIRQ = 2, SSTEP_NOTIMER = 4, SSTEP_DEFAULT = 7 };
enum { ALL_THREADS = -1, ANY_THREAD = 0 };

typedef struct Breakpoint { uint64_t addr; bool hardware; } Breakpoint;

typedef struct Gdb {
    Vm *vm;
    CharPort port;
    PacketParser parser;
    GByteArray *in, *out;           /* from and to the other end, not yet dealt with */
    GByteArray *last;               /* the last packet as sent, for a NAK */
    bool called;                    /* serve has been called for */
    bool serving;                   /* it runs now: the stub stays */
    bool own_chardev;               /* made for it, not one that -chardev made */
    bool opened, closed;            /* it has not heard of that yet */
    bool keeps;                     /* -no-shutdown: a machine that ended stays to be looked at */
    /* the session */
    bool attached;                  /* a debugger has the machine */
    bool goes;                      /* it lets the machine go on just now; else somebody else does */
    bool waits;                     /* it was told to go on: a stop reply is due when it stops */
    bool replied;                   /* to the packet being dealt with */
    bool no_ack, multiprocess, swbreak, hwbreak;
    bool physical;                  /* addresses of memory packets and new watchpoints */
    unsigned sstep;
    int thread;                     /* that registers and memory are of (Hg): an index */
    int resumes;                    /* Hc: an index, or ALL_THREADS - 1 */
    int stopped;                    /* vCPU of the last stop reply */
    /* places to stop; what vCPUs have is brought up to date when they go on */
    GArray *breaks, *watches;       /* Breakpoint, Watchpoint */
    uint32_t last_watch;
    bool breaks_changed, watches_changed;
    bool dma_met;                   /* a device stored to watched memory, and that is not told yet */
    DebugDmaHit dma;
    GString *target;                /* target.xml, once it was asked for */
} Gdb;

/* ---- server.c: replies. Each packet gets one */
void reply(Gdb *g, const char *text);
void reply_format(Gdb *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_bytes(Gdb *g, const void *data, size_t len);
void reply_error(Gdb *g, int number);               /* an errno, as gdb shows it */
/* In front of the reply: text for the user's console. */
void console(Gdb *g, const char *text, size_t len);

/* ---- threads */
static inline Vcpu *gdb_vcpu(const Gdb *g, int index) { return g->vm->vcpus[index]; }
/* "1", "p1.1", "-1", "p1.-1", "0": index, ALL_THREADS - 1 or ANY_THREAD - 1. False: no such thread, or no number. */
bool take_thread(const Gdb *g, PacketText *t, int *index);
void put_thread(const Gdb *g, GString *s, int index);
/* fn in v's own thread: registers are its. */
static inline void on_vcpu(Vcpu *v, void (*fn)(Vcpu *, void *), void *opaque) { vcpu_run_on(v, fn, opaque, true); }

/* ---- stop.c */
void send_stop(Gdb *g);                             /* as the reply, or unasked when it is due */
bool event_pending(Gdb *g, int index);              /* the vCPU met something that has not been told */
void stop_machine(Gdb *g);                          /* silently */

/* ---- resume.c */
void handle_vcont(Gdb *g, PacketText *t);
void handle_continue(Gdb *g, PacketText *t, char how /* c C s S */);
void let_go(Gdb *g, bool run);                      /* no debugger any more */
void all_go(Gdb *g);                                /* somebody else lets the machine go on */

/* ---- regs.c, memory.c, points.c, query.c */
void handle_read_all(Gdb *g);
void handle_write_all(Gdb *g, PacketText *t);
void handle_read_reg(Gdb *g, PacketText *t);
void handle_write_reg(Gdb *g, PacketText *t);
const GString *target_xml(Gdb *g);
void set_pc(Gdb *g, int index, uint64_t pc);

void handle_read_memory(Gdb *g, PacketText *t, bool binary);
void handle_write_memory(Gdb *g, PacketText *t, bool binary);
char *memory_map_xml(Gdb *g);

void handle_point(Gdb *g, PacketText *t, bool insert);
void points_clear(Gdb *g);
void points_apply(Gdb *g, bool steps_only);
const Breakpoint *break_at(const Gdb *g, uint64_t pc);
const Watchpoint *watch_of(const Gdb *g, uint32_t id);
uint32_t watchpoint_add(Gdb *g, Watchpoint w);           /* its number */
bool watchpoint_delete(Gdb *g, uint64_t id);             /* one of the stub's own */

/* ---- dma.c */
void dma_apply(Gdb *g);                                 /* the watchpoints, for devices */
bool dma_pending(Gdb *g);
void dma_tell(Gdb *g, GString *stop);                   /* in words, and as a stop reply's reason. It is pending */

void handle_query(Gdb *g, PacketText *t);
void handle_set(Gdb *g, PacketText *t);
void handle_host_info(Gdb *g);                      /* lldb.c */
void handle_region_info(Gdb *g, PacketText *t);
char *monitor_said(Gdb *g, const char *line);       /* monitor.c; g_free it */

#endif
