/* SPDX-License-Identifier: MIT */
/*
 * Lowering of guest memory accesses: the inline lookup in env->tlb and the
 * access at va + addend; whatever the entry does not allow (another page, a page
 * border crossed, misaligned where that matters, a device) goes to a stub in cold
 * code, which calls the hooks (stubs.c).
 *
 * In the hot sequence rax may hold va, rcx the entry's offset and then its
 * addend, rdx what the tag leaves; all values are in memory meanwhile. The stub
 * preserves every pin.
 */
#include "tcg/x64/x64-priv.h"

/* Brings base + disp into a register that stays whole during the lookup: a pin if it can, else rax. */
static int address(X64Emitter *e, const IrInsn *i)
{
    Asm *a = &e->hot;
    int64_t disp = i->imm;
    Opnd o;

    if (x64_is_val(i->a)) {     /* one that dies here is taken from its register without storing it */
        Val *v = &e->vals[ir_index(i->a)];

        o = x64_use(e, i->a);
        if (v->last == e->idx && o.kind == O_REG && o.rm.base <= RDX) {
            e->owner[o.rm.base] = -1;
            v->reg = -1;
        }
        x64_flush(e);
    } else {
        x64_flush(e);
        o = x64_use(e, i->a);
    }
    if (o.kind == O_IMM) {
        if (o.pc)
            x64_mov_pc(e, a, RAX, o.imm + disp);
        else
            asm_mov_imm(a, RAX, o.imm + disp);
    } else if (!imm_fits(disp)) {
        bool in_rax = opnd_is(o, RAX);

        if (in_rax)
            asm_mov(a, 1, RCX, rm_reg(RAX));
        asm_mov_imm(a, RAX, disp);
        asm_alu(a, ALU_ADD, 1, RAX, in_rax ? rm_reg(RCX) : o.rm);
    } else if (o.kind == O_MEM) {
        asm_mov(a, 1, RAX, o.rm);
        if (disp)
            asm_alu_imm(a, ALU_ADD, 1, rm_reg(RAX), (int32_t)disp);
    } else if (disp) {
        asm_lea(a, 1, RAX, rm_mem(o.rm.base, (int32_t)disp));
    } else if (o.rm.base > RDX || opnd_is(o, RAX)) {
        return o.rm.base;
    } else {
        asm_mov(a, 1, RAX, o.rm);
    }
    return RAX;
}

/*
 * The lookup: returns va's register and leaves the addend in rcx. A failing one
 * jumps to the present end of the cold area, where the caller continues.
 */
enum { LOOK_WRITE = 1, LOOK_ALIGNED = 2, LOOK_NEVER = 4 /* always the cold way */ };

static int lookup_table(X64Emitter *e, const IrInsn *i, unsigned how, unsigned span)
{
    MemOp m = i->x;
    unsigned k = m & MO_SIZE;
    int32_t tlb = ENV_DISP(tlb) + (int32_t)(mo_ctx(m) * TLB_SIZE * sizeof(TlbEntry));
    int32_t tag = (int32_t)(how & LOOK_WRITE ? offsetof(TlbEntry, wt) : offsetof(TlbEntry, rt));
    Asm *a = &e->hot;
    int va = address(e, i);

    _Static_assert(sizeof(TlbEntry) == 32, "the index is shifted by 5");
    if (how & LOOK_NEVER) {
        x64_set_rel32(e, asm_jmp32(a), e->cold.p);
        return va;
    }
    asm_rorx(a, 0, RCX, rm_reg(va), ENV_PAGE_BITS - 5);
    asm_alu_imm(a, ALU_AND, 0, rm_reg(RCX), (TLB_SIZE - 1) << 5);
    asm_mov(a, 1, RDX, rm_reg(va));
    asm_alu(a, ALU_XOR, 1, RDX, rm_sib(RBP, RCX, 0, tlb + tag));
    if (how & LOOK_ALIGNED && k) {         /* misaligned: low bits become high ones */
        asm_shift_imm(a, SH_ROR, 1, rm_reg(RDX), k);
        asm_alu_imm(a, ALU_CMP, 1, rm_reg(RDX), (4096 >> k) - 1);
    } else {
        asm_alu_imm(a, ALU_CMP, 1, rm_reg(RDX), 4096 - (int)span);
    }
    x64_set_rel32(e, asm_jcc32(a, X_A), e->cold.p);
    asm_mov(a, 1, RCX, rm_sib(RBP, RCX, 0, tlb + (int32_t)offsetof(TlbEntry, addend)));
    return va;
}

/*
 * The same by the page that this access met last: nothing but the comparison waits for the address. Another page
 * is looked up in the table, in cold code, and noted.
 */
static int lookup_site(X64Emitter *e, const IrInsn *i, unsigned how, unsigned span, int site)
{
    unsigned ctx = mo_ctx(i->x);
    int32_t tlb = ENV_DISP(tlb) + (int32_t)(ctx * TLB_SIZE * sizeof(TlbEntry));
    int32_t tag = (int32_t)(how & LOOK_WRITE ? offsetof(TlbEntry, wt) : offsetof(TlbEntry, rt));
    Rm page = rm_mem(RBP, ENV_DISP(site_page) + (int32_t)((ctx * ENV_SITES + (unsigned)site) * sizeof(SitePage)));
    Rm addend = rm_mem(RBP, page.disp + (int32_t)offsetof(SitePage, addend));
    Asm *a = &e->hot, *c = &e->cold;
    int va = address(e, i);
    uint8_t *miss;

    asm_mov(a, 1, RDX, rm_reg(va));
    asm_alu(a, ALU_XOR, 1, RDX, page);
    asm_alu_imm(a, ALU_CMP, 1, rm_reg(RDX), 4096 - (int)span);
    x64_set_rel32(e, asm_jcc32(a, X_A), c->p);
    asm_mov(a, 1, RCX, addend);

    asm_rorx(c, 0, RCX, rm_reg(va), ENV_PAGE_BITS - 5);
    asm_alu_imm(c, ALU_AND, 0, rm_reg(RCX), (TLB_SIZE - 1) << 5);
    asm_mov(c, 1, RDX, rm_reg(va));
    asm_alu(c, ALU_XOR, 1, RDX, rm_sib(RBP, RCX, 0, tlb + tag));
    asm_alu_imm(c, ALU_CMP, 1, rm_reg(RDX), 4096 - (int)span);
    miss = asm_jcc32(c, X_A);
    asm_mov(c, 1, RCX, rm_sib(RBP, RCX, 0, tlb + (int32_t)offsetof(TlbEntry, addend)));
    asm_mov(c, 1, RDX, rm_reg(va));
    asm_alu_imm(c, ALU_AND, 1, rm_reg(RDX), -4096);
    asm_store(c, 3, page, RDX);
    asm_store(c, 3, addend, RCX);
    asm_store_imm(c, 0, rm_mem(RBP, ENV_DISP(site_used) + (int32_t)ctx), 1);
    asm_jmp(c, a->p);
    x64_set_rel32(e, miss, c->p);
    return va;
}

static int lookup_span(X64Emitter *e, const IrInsn *i, unsigned how, unsigned span)
{
    int site = e->member[e->idx].site;

    return site < 0 ? lookup_table(e, i, how, span) : lookup_site(e, i, how, span, site);
}

static int lookup(X64Emitter *e, const IrInsn *i, unsigned how)
{
    return lookup_span(e, i, how, mo_size(i->x));
}

static inline unsigned aligned(MemOp m)
{
    return m & (MO_ALIGN | MO_ATOMIC) ? LOOK_ALIGNED : 0;
}

/* Cold code: calls a stub, whose arguments are in place. */
static void cold_stub(X64Emitter *e, const uint8_t *stub)
{
    x64_settle_in(e, &e->cold);
    x64_pins_out(e, &e->cold);
    asm_call(&e->cold, stub);
    x64_site(e, true);
    x64_pins_in(e, &e->cold);
}

/* ---- groups */

/* Where an access is. va >= 0: its address is in that register, and a failing lookup goes to cold code. */
typedef struct Place { Rm rm; int va; } Place;

/*
 * The first of a group: looks up the whole span, keeps the base's host address in
 * its place and in rcx. What fails asks the hook, then leaves.
 */
static void lead_group(X64Emitter *e, const IrInsn *i, const MemGroup *g)
{
    Asm *a = &e->hot, *c = &e->cold;
    IrInsn first = *i;
    uint8_t *refused;

    first.imm = g->min;
    int va = lookup_span(e, &first, g->write ? LOOK_WRITE : 0, g->span);
    asm_lea(a, 1, RCX, rm_sib(va, RCX, 0, -g->min));
    if (va != RAX)
        asm_mov(c, 1, RAX, rm_reg(va));
    asm_mov_imm(c, RDX, g->span);
    asm_mov_imm(c, RCX, i->x | (uint32_t)g->write << 31);
    x64_settle_in(e, c);
    x64_pins_out(e, c);
    asm_call(c, e->s->group);
    asm_test(c, 1, rm_reg(RAX), RAX);
    refused = asm_jcc32(c, X_E);
    x64_pins_in(e, c);
    asm_lea(c, 1, RCX, rm_mem(RAX, -g->min));
    asm_jmp(c, a->p);
    x64_set_rel32(e, refused, c->p);
    x64_leave(e, c, EXIT_UNGROUPED, e->pc);
    asm_store(a, 3, env_group(g->place), RCX);
}

/* Finds the access: by its group, or by a lookup of its own. rcx is in use then. */
static Place locate(X64Emitter *e, const IrInsn *i, unsigned how)
{
    GroupUse m = e->member[e->idx];
    int va;

    if (m.group < 0) {
        va = lookup(e, i, how);
        return (Place){ rm_sib(va, RCX, 0, 0), va };
    }
    if (m.leads) {
        lead_group(e, i, &e->groups.v[m.group]);
    } else {
        x64_flush(e);
        asm_mov(&e->hot, 1, RCX, env_group(e->groups.v[m.group].place));
    }
    e->busy |= 1u << RCX;
    return (Place){ rm_mem(RCX, (int32_t)i->imm), -1 };
}

/* Cold code: arguments rax = va, ecx = word, and rdx as the caller has loaded it; the call; its site. */
static void cold_call(X64Emitter *e, int va, uint32_t word, const uint8_t *stub)
{
    if (va != RAX)
        asm_mov(&e->cold, 1, RAX, rm_reg(va));
    asm_mov_imm(&e->cold, RCX, word);
    cold_stub(e, stub);
}

static void cold_back(X64Emitter *e)
{
    asm_jmp(&e->cold, e->hot.p);
}

/* ---- loads */

/* r = what is at s (memory, or a register with the zero-extended bytes), extended as m and type say. */
static void load_ext(Asm *a, MemOp m, IrType type, int r, Rm s)
{
    bool sign = m & MO_SIGN;
    int w = type != IR_I32;

    switch (m & MO_SIZE) {
    case MO_8:
        if (sign)
            asm_movsx8(a, w, r, s);
        else
            asm_movzx8(a, r, s);
        break;
    case MO_16:
        if (sign)
            asm_movsx16(a, w, r, s);
        else
            asm_movzx16(a, r, s);
        break;
    case MO_32:
        if (sign && w)
            asm_movsxd(a, r, s);
        else
            asm_mov(a, 0, r, s);
        break;
    default:
        if (s.is_mem || s.base != r)
            asm_mov(a, w, r, s);
    }
}

/* Reverses the bytes of r, loaded zero-extended, then extends as m says. */
static void load_big_endian(Asm *a, MemOp m, IrType type, int r, Rm s)
{
    unsigned k = m & MO_SIZE;

    load_ext(a, m & ~(MemOp)MO_SIGN, type, r, s);
    if (k == MO_16)
        asm_rol16_8(a, r);
    else if (k >= MO_32)
        asm_bswap(a, k == MO_64, r);
    if (m & MO_SIGN)
        load_ext(a, m, type, r, rm_reg(r));
}

static inline bool is_float(IrType t)
{
    return t >= IR_F16 && t <= IR_F64;
}

/* Boxes what is in general register r. */
static void box(X64Emitter *e, IrType t, int r)
{
    if (!e->g->nan_box || t == IR_F64)
        return;
    asm_mov_imm(&e->hot, RDX, t == IR_F32 ? ~(uint64_t)UINT32_MAX : ~(uint64_t)0xffff);
    asm_alu(&e->hot, ALU_OR, 1, r, rm_reg(RDX));
}

/* A float to a pinned FPR slot. */
static void load_xmm(X64Emitter *e, const IrInsn *i, int x)
{
    Place p = locate(e, i, aligned(i->x));
    bool single = i->type == IR_F32;

    if (single)
        asm_vmovss(&e->hot, x, p.rm);
    else
        asm_vmovq(&e->hot, x, p.rm);
    if (p.va >= 0) {
        cold_call(e, p.va, i->x, e->s->ld);
        asm_vmov_xr(&e->cold, 1, x, rm_reg(RAX));
        cold_back(e);
    }
    if (single && e->g->nan_box)
        asm_vlogic(&e->hot, V_OR, x, x, ENV_RM(const_f32_box));
}

void x64_lower_ld(X64Emitter *e, const IrInsn *i)
{
    int x = ir_tag(i->d) == IR_SLOT ? e->slot[ir_index(i->d)].xmm : -1, r;
    MemOp m = i->x;
    Place p;

    if (is_float(i->type))
        x64_boxed(e, i->d, i->type == IR_F32);
    if (x >= 0 && i->type != IR_F16 && !(m & MO_BE)) {
        load_xmm(e, i, x);
        return;
    }
    p = locate(e, i, aligned(m));
    r = x >= 0 ? RAX : x64_dst(e, i);
    if (m & MO_BE)
        load_big_endian(&e->hot, m, i->type, r, p.rm);
    else
        load_ext(&e->hot, m, i->type, r, p.rm);
    if (p.va >= 0) {
        cold_call(e, p.va, m, e->s->ld);
        load_ext(&e->cold, m, i->type, r, rm_reg(RAX));
        cold_back(e);
    }
    if (is_float(i->type))
        box(e, i->type, r);
    if (x >= 0)
        asm_vmov_xr(&e->hot, 1, x, rm_reg(RAX));
    else
        x64_put(e, i, r);
}

/* ---- stores */

static int xmm_of(const X64Emitter *e, IrRef r)
{
    return ir_tag(r) == IR_SLOT ? e->slot[ir_index(r)].xmm : -1;
}

/* rdx = operand r; values have been flushed */
static void load_rdx(X64Emitter *e, Asm *a, IrRef r)
{
    x64_load_ref(e, a, RDX, r);
}

static void swap_rdx(Asm *a, unsigned k)
{
    if (k == MO_16)
        asm_rol16_8(a, RDX);
    else if (k >= MO_32)
        asm_bswap(a, k == MO_64, RDX);
}

void x64_lower_st(X64Emitter *e, const IrInsn *i)
{
    MemOp m = i->x;
    unsigned k = m & MO_SIZE;
    Place p = locate(e, i, LOOK_WRITE | aligned(m));
    int x = xmm_of(e, i->b);
    Rm to = p.rm;
    Opnd b = x >= 0 ? (Opnd){ .kind = O_MEM } : x64_use(e, i->b);

    if (m & MO_BE) {
        load_rdx(e, &e->hot, i->b);
        swap_rdx(&e->hot, k);
        asm_store(&e->hot, k, to, RDX);
    } else if (x >= 0 && k == MO_64) {
        asm_vmovq_to(&e->hot, to, x);
    } else if (x >= 0 && k == MO_32) {
        asm_vmovss_to(&e->hot, to, x);
    } else if (b.kind == O_REG) {
        asm_store(&e->hot, k, to, b.rm.base);
    } else if (b.kind == O_IMM && (imm_fits(b.imm) || k < MO_64)) {
        asm_store_imm(&e->hot, k, to, (int32_t)b.imm);
    } else {
        load_rdx(e, &e->hot, i->b);
        asm_store(&e->hot, k, to, RDX);
    }
    if (p.va >= 0) {
        load_rdx(e, &e->cold, i->b);
        cold_call(e, p.va, m, e->s->st);
        cold_back(e);
    }
}

/* ---- atomics. rcx becomes the host address; rax and rdx are then free */

static int lookup_atomic(X64Emitter *e, const IrInsn *i, unsigned how)
{
    int va = lookup(e, i, LOOK_ALIGNED | how | (i->x & MO_BE ? LOOK_NEVER : 0));

    asm_alu(&e->hot, ALU_ADD, 1, RCX, rm_reg(va));
    return va;
}

/* r = r op other, at the width of k; the order of the operands does not matter to any of them. */
static void amo_combine(Asm *a, IrAmo op, unsigned k, int r, int other)
{
    static const uint8_t alu[] = { [AMO_ADD] = ALU_ADD, [AMO_AND] = ALU_AND, [AMO_OR] = ALU_OR, [AMO_XOR] = ALU_XOR };
    static const uint8_t cc[] = { [AMO_MINS] = X_G, [AMO_MAXS] = X_L, [AMO_MINU] = X_A, [AMO_MAXU] = X_B };
    int w = k == MO_64;

    if (op <= AMO_XOR) {
        asm_alu(a, alu[op], w, r, rm_reg(other));
    } else {
        asm_alu(a, ALU_CMP, w, r, rm_reg(other));
        asm_cmov(a, w, cc[op], r, rm_reg(other));
    }
}

/* Without a lock: only this vCPU and no interrupt between. Old value in rdx. */
static void amo_alone(X64Emitter *e, const IrInsn *i, unsigned k)
{
    Asm *a = &e->hot;

    asm_mov(a, k == MO_64, RDX, rm_mem(RCX, 0));
    x64_load(e, a, RAX, x64_use(e, i->b));
    if (i->aux != AMO_SWAP)
        amo_combine(a, i->aux, k, RAX, RDX);
    asm_store(a, k, rm_mem(RCX, 0), RAX);
}

/* Old value in the register returned. */
static int amo_locked(X64Emitter *e, const IrInsn *i, unsigned k)
{
    Asm *a = &e->hot;
    uint8_t *again;

    if (i->aux == AMO_SWAP || i->aux == AMO_ADD) {
        x64_load(e, a, RDX, x64_use(e, i->b));
        if (i->aux == AMO_SWAP)
            asm_xchg_sized(a, k, rm_mem(RCX, 0), RDX);
        else
            asm_xadd(a, true, k, rm_mem(RCX, 0), RDX);
        return RDX;
    }
    asm_mov(a, k == MO_64, RAX, rm_mem(RCX, 0));
    again = a->p;
    x64_load(e, a, RDX, x64_use(e, i->b));
    amo_combine(a, i->aux, k, RDX, RAX);
    asm_cmpxchg(a, true, k, rm_mem(RCX, 0), RDX);
    asm_jcc(a, X_NE, again);
    return RAX;
}

/* d = res, zero-extended from the access, extended as m says */
static void put_ext(X64Emitter *e, const IrInsn *i, int res)
{
    int r = x64_dst(e, i);

    load_ext(&e->hot, i->x, i->type, r, rm_reg(res));
    x64_put(e, i, r);
}

void x64_lower_amo(X64Emitter *e, const IrInsn *i)
{
    unsigned k = i->x & MO_SIZE;
    int va, res = RDX;

    va = lookup_atomic(e, i, LOOK_WRITE | (k < MO_32 ? LOOK_NEVER : 0));    /* bytes and halfwords: by the hook */
    if (e->r->one_vcpu)
        amo_alone(e, i, k);
    else
        res = amo_locked(e, i, k);
    load_rdx(e, &e->cold, i->b);
    cold_call(e, va, i->x | (uint32_t)i->aux << 24, e->s->amo);
    if (res != RAX)
        asm_mov(&e->cold, 1, res, rm_reg(RAX));
    cold_back(e);
    put_ext(e, i, res);
}

void x64_lower_cas(X64Emitter *e, const IrInsn *i)
{
    unsigned k = i->x & MO_SIZE;
    Asm *a = &e->hot, *c = &e->cold;
    int va = lookup_atomic(e, i, LOOK_WRITE);

    x64_load(e, a, RAX, x64_use(e, i->b));
    x64_load(e, a, RDX, x64_use(e, i->c));
    asm_cmpxchg(a, !e->r->one_vcpu, k, rm_mem(RCX, 0), RDX);
    if (va != RAX)
        asm_mov(c, 1, RAX, rm_reg(va));
    asm_store_imm(c, 2, env_spill(SPILL_ARG), (int32_t)i->x);
    x64_load(e, c, RDX, x64_use(e, i->b));
    x64_load(e, c, RCX, x64_use(e, i->c));
    cold_stub(e, e->s->cas);
    cold_back(e);
    put_ext(e, i, RAX);
}

void x64_lower_lr(X64Emitter *e, const IrInsn *i)
{
    unsigned k = i->x & MO_SIZE;
    Asm *a = &e->hot;
    int va = lookup(e, i, LOOK_ALIGNED | (i->x & MO_BE ? LOOK_NEVER : 0));

    load_ext(a, i->x & ~(MemOp)MO_SIGN, IR_I64, RDX, rm_sib(va, RCX, 0, 0));
    asm_store(a, 3, ENV_RM(resv_addr), va);
    asm_store(a, 3, ENV_RM(resv_val), RDX);
    asm_store_imm(a, 3, ENV_RM(resv_size), 1 << k);
    cold_call(e, va, i->x, e->s->lr);
    asm_mov(&e->cold, 1, RDX, rm_reg(RAX));
    cold_back(e);
    put_ext(e, i, RDX);
}

/* The store happens if the address is the reserved one and the memory is as lr read it. */
void x64_lower_sc(X64Emitter *e, const IrInsn *i)
{
    unsigned k = i->x & MO_SIZE;
    Asm *a = &e->hot;
    int va = lookup_atomic(e, i, LOOK_WRITE);
    uint8_t *other_addr, *other_size;

    asm_alu(a, ALU_CMP, 1, va, ENV_RM(resv_addr));
    other_addr = asm_jcc8(a, X_NE);
    asm_alu_imm(a, ALU_CMP, 1, ENV_RM(resv_size), 1 << k);
    other_size = asm_jcc8(a, X_NE);
    asm_mov(a, 1, RAX, ENV_RM(resv_val));
    x64_load(e, a, RDX, x64_use(e, i->b));
    asm_cmpxchg(a, !e->r->one_vcpu, k, rm_mem(RCX, 0), RDX);
    asm_here8(a, other_addr);
    asm_here8(a, other_size);
    asm_store_imm(a, 3, ENV_RM(resv_addr), -1);
    asm_setcc(a, X_NE, RAX);
    asm_movzx8(a, RAX, rm_reg(RAX));
    load_rdx(e, &e->cold, i->b);
    cold_call(e, va, i->x, e->s->sc);
    cold_back(e);
    x64_put(e, i, RAX);
}

/*
 * Everything but store -> load is the host's own order. A single vCPU needs it as well: devices in I/O threads look at
 * its rings, and whoever offers a buffer and then looks whether it must ring the bell would lose the bell.
 */
void x64_lower_fence(X64Emitter *e, const IrInsn *i)
{
    if (i->aux != FENCE_STLD)
        return;
    asm_lock(&e->hot, true);
    asm_alu_imm(&e->hot, ALU_OR, 0, rm_mem(RSP, -64), 0);
}
