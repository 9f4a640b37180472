/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines: a device's output pin, wired to somebody's input. Any
 * thread may drive one: what receives it has a lock of its own, and takes no
 * other while it holds that.
 */
#ifndef SYSTEM_IRQ_H
#define SYSTEM_IRQ_H

typedef struct Irq {
    void (*set)(void *to, int pin, int level);  /* NULL: not wired */
    void *to;
    int pin;
} Irq;
static inline void irq_set(const Irq *i, int level) { if (i->set) i->set(i->to, i->pin, level); }
static inline void irq_wire(Irq *i, void (*set)(void *, int, int), void *to, int pin)
{
    *i = (Irq){ set, to, pin };
}
#endif
