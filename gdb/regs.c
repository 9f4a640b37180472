/* SPDX-License-Identifier: MIT */
/*
 * Registers, from the guest's own rows (Isa.regs): packets g, G, p, P and the
 * target description that names them. g holds the first group only; gdb asks for
 * the others one by one.
 */
#include <string.h>

#include "gdb/gdb-priv.h"

static bool is_first_group(const Isa *isa, const RegInfo *r)
{
    return !strcmp(r->group, isa->regs[0].group);
}

static const RegInfo *find(const Isa *isa, uint64_t number)
{
    for (const RegInfo *r = isa->regs; r->name; r++)
        if ((uint64_t)r->gdb == number)
            return r;
    return NULL;
}

/* ---- access in the vCPU's thread */

typedef struct Job { const RegInfo *reg; uint64_t value; bool there; } Job;

static void read_one(Vcpu *v, void *opaque)
{
    Job *j = opaque;

    j->there = !j->reg->has || j->reg->has(v, j->reg->arg);
    if (j->there)
        j->value = j->reg->get(v, j->reg->arg);
}

static void write_one(Vcpu *v, void *opaque)
{
    Job *j = opaque;

    j->there = !j->reg->has || j->reg->has(v, j->reg->arg);
    if (j->there && j->reg->set)
        j->reg->set(v, j->reg->arg, j->value);
}

static void put_value(GString *s, uint64_t value, unsigned bits)
{
    put_bytes(s, &value, bits / 8);
}

static void read_group(Vcpu *v, void *opaque)
{
    for (const RegInfo *r = v->isa->regs; r->name && is_first_group(v->isa, r); r++)
        put_value(opaque, r->get(v, r->arg), r->bits);
}

static void write_group(Vcpu *v, void *opaque)
{
    PacketText *t = opaque;

    for (const RegInfo *r = v->isa->regs; r->name && is_first_group(v->isa, r); r++) {
        uint64_t value = 0;

        if (!take_bytes(t, (uint8_t *)&value, r->bits / 8))
            return;
        r->set(v, r->arg, value);
    }
}

/* ---- packets */

void handle_read_all(Gdb *g)
{
    GString *s = g_string_new(NULL);

    on_vcpu(gdb_vcpu(g, g->thread), read_group, s);
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

void handle_write_all(Gdb *g, PacketText *t)
{
    on_vcpu(gdb_vcpu(g, g->thread), write_group, t);
    if (text_over(t))
        reply(g, "OK");
    else
        reply_error(g, 22);
}

void handle_read_reg(Gdb *g, PacketText *t)
{
    uint64_t n;
    Job j = { NULL };

    if (!take_hex(t, &n) || !(j.reg = find(g->vm->isa, n))) {
        reply_error(g, 14);
        return;
    }
    on_vcpu(gdb_vcpu(g, g->thread), read_one, &j);
    if (!j.there) {
        reply_error(g, 14);
        return;
    }
    GString *s = g_string_new(NULL);
    put_value(s, j.value, j.reg->bits);
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

void handle_write_reg(Gdb *g, PacketText *t)
{
    uint64_t n;
    Job j = { NULL };

    if (!take_hex(t, &n) || !take_char(t, '=') || !(j.reg = find(g->vm->isa, n))
        || !take_bytes(t, (uint8_t *)&j.value, j.reg->bits / 8) || !text_over(t)) {
        reply_error(g, 22);
        return;
    }
    on_vcpu(gdb_vcpu(g, g->thread), write_one, &j);
    if (j.there)
        reply(g, "OK");
    else
        reply_error(g, 14);
}

void set_pc(Gdb *g, int index, uint64_t pc)
{
    Job j = { &g->vm->isa->regs[g->vm->isa->pc_reg], pc };

    on_vcpu(gdb_vcpu(g, index), write_one, &j);
}

/* ---- the target description, gdb's manual appendix G */

static void describe_reg(GString *s, const RegInfo *r, bool first)
{
    const char *type = r->type ? r->type : "int", *group = first ? "general" : r->group;

    if (!strcmp(type, "float")) {
        type = r->bits == 64 ? "fp64" : "ieee_single";
        group = "float";
    }
    g_string_append_printf(s, "<reg name=\"%s\" bitsize=\"%u\" regnum=\"%d\" type=\"%s\" group=\"%s\"",
                           r->name, r->bits, r->gdb, type, group);
    /* lldb has no tables of its own to know these by; gdb ignores them. */
    if (r->dwarf)
        g_string_append_printf(s, " dwarf_regnum=\"%d\" ehframe_regnum=\"%d\"", r->dwarf - 1, r->dwarf - 1);
    if (r->role)
        g_string_append_printf(s, " generic=\"%s\"", r->role);
    g_string_append(s, "/>\n");
}

static void describe(Vcpu *v, void *opaque)
{
    GString *s = opaque;
    const Isa *isa = v->isa;
    const char *group = NULL;

    for (const RegInfo *r = isa->regs; r->name; r++) {
        if (r->has && !r->has(v, r->arg))
            continue;
        if (!group || strcmp(group, r->group)) {
            g_string_append_printf(s, "%s<feature name=\"%s%s\">\n", group ? "</feature>\n" : "", isa->gdb_features, r->group);
            if (r->type && !strcmp(r->type, "float"))
                g_string_append(s, "<union id=\"fp64\"><field name=\"float\" type=\"ieee_single\"/>"
                                   "<field name=\"double\" type=\"ieee_double\"/></union>\n");
        }
        group = r->group;
        describe_reg(s, r, is_first_group(isa, r));
    }
    if (group)
        g_string_append(s, "</feature>\n");
}

const GString *target_xml(Gdb *g)
{
    if (!g->target) {
        GString *s = g_string_new("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");

        g_string_append_printf(s, "<architecture>%s</architecture>\n", g->vm->isa->gdb_arch);
        on_vcpu(gdb_vcpu(g, 0), describe, s);
        g_string_append(s, "</target>\n");
        g->target = s;
    }
    return g->target;
}
