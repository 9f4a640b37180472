/* SPDX-License-Identifier: MIT */
/*
 * Copies of a unit for other virtual addresses of its page. Code depends on where
 * it lies and on its guest address in few places, which the emitter notes
 * (AsmNotes): jumps and calls beyond their own area, guest addresses as constants
 * of 64 bits, the tag check of the checked entry, and the exits' stubs. A copy is
 * the bytes with those changed, many times cheaper than translating.
 *
 * Places inside an area are relative to it and need nothing. What padding there is
 * was made for the address modulo 16 (fields that are patched) or 64 (compare and
 * jump in one cache line); the copy lies at the same one.
 */
#include "tcg/x64/x64-priv.h"

/* A reloc: its offset in its area << 3, whether that is the cold one, and what the field holds. */
enum { IN_COLD = 1, TO_OTHER = 0 << 1 /* rel32 to the other area */, TO_STUB = 1 << 1, GUEST = 2 << 1, WHAT = 3 << 1 };
enum { HOT_ALIGN = 64, COLD_ALIGN = 16 };

static bool within(const uint8_t *p, const uint8_t *from, const uint8_t *to)
{
    return p >= from && p < to;
}

static bool add(X64Emitter *e, const uint8_t *hot, const uint8_t *at, unsigned what)
{
    bool in_cold = within(at, e->cold.start, e->cold.p);

    if (!in_cold && !within(at, hot, e->hot.p))
        return false;
    *VEC_PUSH(e->relocs) = (uint32_t)(at - (in_cold ? e->cold.start : hot)) << 3 | what | in_cold;
    return true;
}

/* A rel32: to its own area (nothing to do), to the other one, or to a stub. */
static bool add_rel32(X64Emitter *e, const uint8_t *hot, const uint8_t *at)
{
    int32_t rel;

    memcpy(&rel, at, 4);
    const uint8_t *to = at + 4 + rel;
    bool to_hot = to >= hot && to <= e->hot.p, to_cold = to >= e->cold.start && to <= e->cold.p;
    bool in_cold = within(at, e->cold.start, e->cold.p);
    if (to_hot == to_cold)
        return !to_hot && add(e, hot, at, TO_STUB);
    return to_cold == in_cold || add(e, hot, at, TO_OTHER);
}

bool x64_relocs(X64Emitter *e, const uint8_t *hot)
{
    const AsmNotes *n = e->notes;
    bool ok = !e->fixed && !n->full && !e->r->xt_id2;

    e->relocs.n = 0;
    for (int i = 0; i < n->nrel && ok; i++)
        ok = add_rel32(e, hot, n->rel[i]);
    for (int i = 0; i < n->npc && ok; i++)
        ok = add(e, hot, n->pc[i], GUEST);
    return ok;
}

/* The next place at or after p that is `like` modulo align. */
static uint8_t *place(const CodeArea *area, const uint8_t *like, unsigned align)
{
    return area->rw + (((uintptr_t)like - (uintptr_t)area->rw) & (align - 1));
}

static void add_32(uint8_t *at, uint32_t d)
{
    uint32_t v;

    memcpy(&v, at, 4);
    v += d;
    memcpy(at, &v, 4);
}

static void add_64(uint8_t *at, uint64_t d)
{
    uint64_t v;

    memcpy(&v, at, 8);
    v += d;
    memcpy(at, &v, 8);
}

bool x64_copy(const X64Request *q, const X64Code *from, uint64_t vpage, uint64_t pc_delta, X64Code *out)
{
    const uint8_t *hot0 = q->base + from->entry_checked, *cold0 = q->base + from->cold;
    size_t hot_size = from->hot_end - from->entry_checked, cold_size = from->cold_end - from->cold;
    uint8_t *hot = place(&q->hot, hot0, HOT_ALIGN), *cold = place(&q->cold, cold0, COLD_ALIGN);
    uint32_t moved = (uint32_t)(hot - hot0), cold_moved = (uint32_t)(cold - cold0);

    if (hot + hot_size > q->hot.end || cold + cold_size > q->cold.end)
        return false;
    memcpy(hot, hot0, hot_size);
    memcpy(cold, cold0, cold_size);
    for (int i = 0; i < from->nrelocs; i++) {
        uint32_t r = from->relocs[i], own = r & IN_COLD ? cold_moved : moved, other = r & IN_COLD ? moved : cold_moved;
        uint8_t *at = (r & IN_COLD ? cold : hot) + (r >> 3);

        if ((r & WHAT) == GUEST)
            add_64(at, pc_delta);
        else
            add_32(at, (r & WHAT) == TO_OTHER ? other - own : -own);
    }
    x64_set_tag(hot, q->exec_ctx, vpage, q->xt_id);
    *out = *from;
    out->entry_checked = (uint32_t)(hot - q->base);
    out->hot = (uint32_t)(q->hot.rw - q->base);
    out->entry = from->entry + moved;
    out->hot_end = from->hot_end + moved;
    out->cold = (uint32_t)(cold - q->base);
    out->cold_end = from->cold_end + cold_moved;
    return true;
}

void x64_exit_init(uint8_t *base, uint32_t patch, uint32_t stub, uint32_t number)
{
    asm_set_rel32(base + patch, base + stub);
    memcpy(base + stub + 1, &number, 4);        /* mov eax, number */
}
