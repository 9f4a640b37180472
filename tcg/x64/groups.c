/* SPDX-License-Identifier: MIT */
/*
 * Groups of memory accesses. Accesses by the same base slot in straight code,
 * close together, are checked once: the first looks up the page for the span of
 * all of them and keeps the host address of the base in env->group; the others use
 * it without a check. Function prologues, register saves and structures are full
 * of these.
 *
 * Between the first and the last nothing may change a translation: no label (so no
 * loop, no poll), no helper, no write of the base. Slow paths of other accesses in
 * between may fill tables, but translations are revoked only between instructions.
 * A group led by a store may hold loads: what may be written may be read. When the
 * span crosses a page or isn't plain memory, the first access leaves with
 * EXIT_UNGROUPED before it has done anything.
 *
 * In loops, lookups go by a page that each access keeps for itself (SitePage):
 * loops walk through arrays, so it is nearly always the same page as the last
 * time. An access has a site for each base, as long as only steps are added to it.
 */
#include "tcg/x64/x64-priv.h"

enum { MAX_SPAN = 2048, MAX_DISP = 1 << 20 };

/* A group that may still grow. */
typedef struct Open { IrRef base; int leader, id, count; int64_t min, max; unsigned ctx; bool write; } Open;

/* Bases of groups that may be open, by slot number modulo 64: most instructions touch none of them. */
static inline uint64_t base_bit(IrRef r)
{
    return ir_tag(r) == IR_SLOT ? (uint64_t)1 << (ir_index(r) & 63) : 0;
}

static bool may_group(const IrInsn *i)
{
    return (i->op == IR_ld || i->op == IR_st) && ir_tag(i->a) == IR_SLOT && i->imm > -MAX_DISP && i->imm < MAX_DISP
        && !(i->x & (MO_BE | MO_ALIGN | MO_ATOMIC)) && (i->x & MO_SIZE) <= MO_64;
}

static void close_group(X64Emitter *e, Open *o)
{
    if (o->count == 1) {
        e->member[o->leader].group = -1;
        e->member[o->leader].leads = false;
    }
    if (o->count > 1)
        e->groups.v[o->id] = (MemGroup){ (int32_t)o->min, (uint16_t)(o->max - o->min), (uint8_t)(o->id % ENV_GROUPS), o->write };
    o->count = 0;
}

static void close_all(X64Emitter *e, Open *open)
{
    for (int n = 0; n < ENV_GROUPS; n++)
        close_group(e, &open[n]);
}

static bool joins(Open *o, const IrInsn *i)
{
    int64_t min = i->imm < o->min ? i->imm : o->min, end = i->imm + mo_size(i->x);
    int64_t max = end > o->max ? end : o->max;

    if (!o->count || o->base != i->a || o->ctx != mo_ctx(i->x) || (i->op == IR_st && !o->write) || max - min > MAX_SPAN)
        return false;
    o->min = min;
    o->max = max;
    o->count++;
    return true;
}

/* The place in env->group is the group's number, so the one that had it before must be closed. */
static void open_group(X64Emitter *e, Open *open, int idx, const IrInsn *i)
{
    int id = e->groups.n;
    Open *o = &open[id % ENV_GROUPS];

    close_group(e, o);
    *VEC_PUSH(e->groups) = (MemGroup){ 0 };
    *o = (Open){ i->a, idx, id, 1, i->imm, i->imm + mo_size(i->x), mo_ctx(i->x), i->op == IR_st };
    e->member[idx].group = (int16_t)id;
    e->member[idx].leads = true;
}

static void add_access(X64Emitter *e, Open *open, uint64_t *bases, int idx, const IrInsn *i)
{
    bool known = *bases & base_bit(i->a);

    *bases |= base_bit(i->a);
    for (int n = 0; n < ENV_GROUPS && known; n++) {
        if (joins(&open[n], i)) {
            e->member[idx].group = (int16_t)open[n].id;
            e->member[idx].site = -1;
            return;
        }
    }
    open_group(e, open, idx, i);
}

/* Does everything that was looked up before i have to be looked up again after it? */
static bool is_border(const IrInsn *i)
{
    return (i->op == IR_mark && i->x & MARK_LABEL) || i->op == IR_call || i->op == IR_callpc
        || ir_ops[i->op].flags & IRF_END;
}

/* ---- sites: of the base slot of reads, and of writes; -1: the next access gets a new one */
typedef struct Sites { int16_t of[2][X64_MAX_SLOTS]; int loop_end; } Sites;

static int16_t site_for(X64Emitter *e, Sites *s, const IrInsn *i)
{
    int16_t *site = &s->of[i->op == IR_st][ir_index(i->a)];

    if (*site < 0)
        *site = (int16_t)(e->next_site++ % ENV_SITES);
    return *site;
}

static void note_write(Sites *s, const IrInsn *i)
{
    bool step = i->op == IR_add && i->a == i->d && ir_tag(i->b) == IR_IMM;

    if (ir_tag(i->d) == IR_SLOT && !step && ir_index(i->d) < X64_MAX_SLOTS)
        s->of[0][ir_index(i->d)] = s->of[1][ir_index(i->d)] = -1;
}

static void note_loop(X64Emitter *e, Sites *s, const IrInsn *i)
{
    Label *l = i->op == IR_mark && i->x & MARK_LABEL ? x64_label(e, i->imm) : NULL;

    if (l && l->loop && l->end > s->loop_end)
        s->loop_end = l->end;
}

void x64_groups_find(X64Emitter *e)
{
    const IrUnit *u = e->u;
    Open open[ENV_GROUPS] = { 0 };
    Sites sites = { .loop_end = -1 };
    uint64_t bases = 0;

    memset(sites.of, 0xff, sizeof sites.of);
    e->groups.n = 0;
    for (int n = 0; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        note_loop(e, &sites, i);
        e->member[n] = (GroupUse){ .group = -1, .site = -1 };
        if (may_group(i) && n <= sites.loop_end && e->g->nslots <= X64_MAX_SLOTS)
            e->member[n].site = site_for(e, &sites, i);
        if (is_border(i)) {
            close_all(e, open);
            bases = 0;
        } else if (e->grouped && may_group(i) && e->groups.n < INT16_MAX) {
            add_access(e, open, &bases, n, i);
        }
        note_write(&sites, i);
        for (int g = 0; g < ENV_GROUPS && bases & base_bit(i->d); g++)
            if (open[g].count && open[g].base == i->d)
                close_group(e, &open[g]);
    }
    close_all(e, open);
}
