/* SPDX-License-Identifier: MIT */
/*
 * Spaces: layered mappings, flattened to a sorted array that readers take
 * without a lock.
 *
 * A Flat never changes once it is published. An old one is freed when every
 * vCPU has been between two instructions since (vm_after_safepoint). Threads
 * other than vCPUs hold the machine lock while they look at one. No function
 * here keeps a Flat across a call into a device, since that may edit the space.
 */
#include "system/mem.h"

#include <glib.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "system/vm.h"

typedef struct Mapping { uint64_t base, last; Region *region; int layer; } Mapping;
typedef struct Watcher { void (*changed)(void *, const Flat *, const Flat *); void *opaque; } Watcher;

struct Space {                  /* guarded by the machine lock, but for `flat` */
    Vm *vm;
    char *name;
    GArray *maps;               /* Mapping, by layer ascending */
    GArray *watchers;           /* Watcher */
    int editing;                /* depth of space_edit */
    bool changed;               /* since the last publication */
    const Flat *_Atomic flat;
    GPtrArray *retired;         /* Flats replaced since the running grace period began */
    GPtrArray *dying;           /* Flats freed when it ends; NULL: none runs */
};

/* ---- flattening */

/* The mapping that shows at addr, and in *last how far nothing changes. maps is sorted by layer. */
static const Mapping *shown_at(const GArray *maps, uint64_t addr, uint64_t *last)
{
    const Mapping *top = NULL;

    *last = UINT64_MAX;
    for (guint i = 0; i < maps->len; i++) {
        const Mapping *m = &g_array_index(maps, Mapping, i);

        if (m->base > addr) {
            *last = MIN(*last, m->base - 1);
        } else if (m->last >= addr) {
            top = m;
            *last = MIN(*last, m->last);
        }
    }
    return top;
}

static void flat_append(GArray *ranges, uint64_t base, uint64_t last, const Mapping *m)
{
    uint64_t off = base - m->base;

    if (ranges->len) {
        FlatRange *prev = &g_array_index(ranges, FlatRange, ranges->len - 1);

        if (prev->region == m->region && prev->last + 1 == base && prev->off + (base - prev->base) == off) {
            prev->last = last;
            return;
        }
    }
    FlatRange r = { base, last, m->region, off };
    g_array_append_val(ranges, r);
}

static Flat *flat_build(const GArray *maps)
{
    GArray *ranges = g_array_new(false, false, sizeof(FlatRange));

    for (uint64_t at = 0, last;; at = last + 1) {
        const Mapping *m = shown_at(maps, at, &last);

        if (m)
            flat_append(ranges, at, last, m);
        if (last == UINT64_MAX)
            break;
    }
    Flat *f = g_malloc(sizeof(Flat) + ranges->len * sizeof(FlatRange));
    f->serial = 0;
    f->n = ranges->len;
    if (f->n)       /* an empty array has no data to copy from */
        memcpy(f->r, ranges->data, ranges->len * sizeof(FlatRange));
    g_array_free(ranges, true);
    return f;
}

const FlatRange *flat_find(const Flat *f, uint64_t addr)
{
    int lo = 0, hi = f->n;

    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if (f->r[mid].last < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->n && f->r[lo].base <= addr ? &f->r[lo] : NULL;
}

const Flat *space_flat(const Space *s)
{
    return atomic_load_explicit(&s->flat, memory_order_acquire);
}

/* ---- publication */

static void grace_begin(Space *s);

static void grace_ended(void *opaque)
{
    Space *s = opaque;

    g_ptr_array_free(s->dying, true);
    s->dying = NULL;
    if (s->retired->len)
        grace_begin(s);
}

static void grace_begin(Space *s)
{
    s->dying = s->retired;
    s->retired = g_ptr_array_new_with_free_func(g_free);
    vm_after_safepoint(s->vm, grace_ended, s);
}

static void publish(Space *s)
{
    const Flat *was = space_flat(s);
    Flat *now = flat_build(s->maps);

    now->serial = was->serial + 1;
    atomic_store_explicit(&s->flat, now, memory_order_release);
    s->changed = false;
    for (guint i = 0; i < s->watchers->len; i++) {
        Watcher *w = &g_array_index(s->watchers, Watcher, i);

        w->changed(w->opaque, was, now);
    }
    g_ptr_array_add(s->retired, (void *)was);
    if (!s->dying)
        grace_begin(s);
}

void space_edit(Space *s)
{
    s->editing++;
}

void space_commit(Space *s)
{
    if (--s->editing == 0 && s->changed)
        publish(s);
}

Space *space_new(Vm *vm, const char *name)
{
    Space *s = g_new0(Space, 1);

    s->vm = vm;
    s->name = g_strdup(name);
    s->maps = g_array_new(false, false, sizeof(Mapping));
    s->watchers = g_array_new(false, false, sizeof(Watcher));
    s->retired = g_ptr_array_new_with_free_func(g_free);
    atomic_init(&s->flat, flat_build(s->maps));
    return s;
}

void space_free(Space *s)
{
    if (!s)
        return;
    g_free((void *)space_flat(s));
    g_array_free(s->maps, true);
    g_array_free(s->watchers, true);
    g_ptr_array_free(s->retired, true);
    if (s->dying)
        g_ptr_array_free(s->dying, true);
    g_free(s->name);
    g_free(s);
}

Err *space_map(Space *s, uint64_t base, Region *r, int layer)
{
    if (!r->size || base + (r->size - 1) < base)
        return err(ERR_INVALID, "cannot map '%s' (%#" PRIx64 " bytes) at %#" PRIx64
                   ": it does not fit into the address space", r->name, r->size, base);
    Mapping m = { base, base + (r->size - 1), r, layer };
    guint at = 0;

    for (guint i = 0; i < s->maps->len; i++) {
        const Mapping *o = &g_array_index(s->maps, Mapping, i);

        if (o->layer == layer && o->base <= m.last && m.base <= o->last)
            return err(ERR_INVALID, "cannot map '%s' at %#" PRIx64 "-%#" PRIx64 ": '%s' is there already "
                       "(%#" PRIx64 "-%#" PRIx64 ")", r->name, base, m.last, o->region->name, o->base, o->last);
        if (o->layer <= layer)
            at = i + 1;
    }
    space_edit(s);
    g_array_insert_val(s->maps, at, m);
    s->changed = true;
    space_commit(s);
    return NULL;
}

void space_unmap(Space *s, Region *r)
{
    space_edit(s);
    for (guint i = s->maps->len; i-- > 0;) {
        if (g_array_index(s->maps, Mapping, i).region == r) {
            g_array_remove_index(s->maps, i);
            s->changed = true;
        }
    }
    space_commit(s);
}

void space_watch(Space *s, void (*changed)(void *, const Flat *, const Flat *), void *opaque)
{
    Watcher w = { changed, opaque };

    g_array_append_val(s->watchers, w);
}

char *space_print(const Space *s, RegionNote note, void *opaque)
{
    static const char *const kinds[] = { [REGION_RAM] = "ram", [REGION_ROM] = "rom", [REGION_IO] = "i/o" };
    const Flat *f = space_flat(s);
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "address-space: %s\n", s->name);
    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];

        g_string_append_printf(out, "  %016" PRIx64 "-%016" PRIx64 " (%s): %s", r->base, r->last,
                               kinds[r->region->kind], r->region->name);
        if (r->off)
            g_string_append_printf(out, " @%016" PRIx64, r->off);
        if (note)
            note(opaque, r->region, out);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, false);
}

static int by_base(const void *a, const void *b)
{
    const Mapping *x = a, *y = b;

    return x->base != y->base ? (x->base > y->base) - (x->base < y->base) : y->layer - x->layer;
}

char *space_print_maps(const Space *s, RegionNote note, void *opaque)
{
    static const char *const kinds[] = { [REGION_RAM] = "ram", [REGION_ROM] = "rom", [REGION_IO] = "i/o" };
    GString *out = g_string_new(NULL);
    g_autoptr(GArray) maps = g_array_copy(s->maps);

    g_array_sort(maps, by_base);
    g_string_append_printf(out, "address-space: %s\n  0000000000000000-ffffffffffffffff (prio 0, i/o): %s\n", s->name, s->name);
    for (guint i = 0; i < maps->len; i++) {
        const Mapping *m = &g_array_index(maps, Mapping, i);

        g_string_append_printf(out, "    %016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", m->base, m->last, m->layer,
                               kinds[m->region->kind], m->region->name);
        if (note)
            note(opaque, m->region, out);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, false);
}

void space_each(const Space *s, void (*fn)(void *opaque, uint64_t base, const Region *r), void *opaque)
{
    for (guint i = 0; i < s->maps->len; i++) {
        const Mapping *m = &g_array_index(s->maps, Mapping, i);

        fn(opaque, m->base, m->region);
    }
}

/* ---- access to RAM and ROM */

static uint8_t *ram_at(const FlatRange *r, uint64_t addr)
{
    return r->region->ram->host + r->region->ram_off + r->off + (addr - r->base);
}

/*
 * What a vCPU may see at the same time moves in one piece when it is aligned
 * and of a machine size: page table entries, ring indices.
 */
static void ram_copy_in(uint8_t *host, const void *buf, uint64_t len)
{
    uint64_t v = 0;

    if (len > 8 || len & (len - 1) || (uintptr_t)host & (len - 1)) {
        memcpy(host, buf, len);
        return;
    }
    memcpy(&v, buf, len);
    switch (len) {
    case 1: __atomic_store_n(host, v, __ATOMIC_RELEASE); break;
    case 2: __atomic_store_n((uint16_t *)host, v, __ATOMIC_RELEASE); break;
    case 4: __atomic_store_n((uint32_t *)host, v, __ATOMIC_RELEASE); break;
    case 8: __atomic_store_n((uint64_t *)host, v, __ATOMIC_RELEASE); break;
    }
}

static void ram_copy_out(void *buf, const uint8_t *host, uint64_t len)
{
    uint64_t v = 0;

    if (len > 8 || len & (len - 1) || (uintptr_t)host & (len - 1)) {
        memcpy(buf, host, len);
        return;
    }
    switch (len) {
    case 1: v = __atomic_load_n(host, __ATOMIC_ACQUIRE); break;
    case 2: v = __atomic_load_n((const uint16_t *)host, __ATOMIC_ACQUIRE); break;
    case 4: v = __atomic_load_n((const uint32_t *)host, __ATOMIC_ACQUIRE); break;
    case 8: v = __atomic_load_n((const uint64_t *)host, __ATOMIC_ACQUIRE); break;
    }
    memcpy(buf, &v, len);
}

static void ram_store(const FlatRange *r, uint64_t addr, const void *buf, uint64_t len)
{
    RamBlock *b = r->region->ram;
    uint8_t *host = ram_at(r, addr);

    ram_copy_in(host, buf, len);
    ram_touch(b, host - b->host, len);
}

/* Bytes from addr to the end of r, at most len. */
static uint64_t in_range(const FlatRange *r, uint64_t addr, uint64_t len)
{
    return len - 1 <= r->last - addr ? len : r->last - addr + 1;
}

MemResult space_read(Space *s, uint64_t addr, void *buf, uint64_t len)
{
    const Flat *f = space_flat(s);

    while (len) {
        const FlatRange *r = flat_find(f, addr);

        if (!r)
            return MEM_NOTHING;
        if (r->region->kind == REGION_IO)
            return MEM_DENIED;
        uint64_t n = in_range(r, addr, len);
        ram_copy_out(buf, ram_at(r, addr), n);
        addr += n;
        len -= n;
        buf = (char *)buf + n;
    }
    return MEM_OK;
}

/* into_rom: loaders may. Stops at the first address that is neither; *bad tells which. */
static MemResult write_ram(Space *s, uint64_t addr, const void *buf, uint64_t len, bool into_rom, uint64_t *bad)
{
    const Flat *f = space_flat(s);

    while (len) {
        const FlatRange *r = flat_find(f, addr);

        *bad = addr;
        if (!r)
            return MEM_NOTHING;
        if (r->region->kind == REGION_IO)
            return MEM_DENIED;
        uint64_t n = in_range(r, addr, len);
        if (r->region->kind == REGION_RAM || into_rom)
            ram_store(r, addr, buf, n);
        addr += n;
        len -= n;
        buf = (const char *)buf + n;
    }
    return MEM_OK;
}

MemResult space_write(Space *s, uint64_t addr, const void *buf, uint64_t len)
{
    uint64_t bad;

    return write_ram(s, addr, buf, len, false, &bad);
}

Err *rom_write(Space *s, uint64_t addr, const void *buf, uint64_t len)
{
    uint64_t bad;

    if (len && addr + (len - 1) < addr)
        return err(ERR_INVALID, "%" PRIu64 " bytes at %#" PRIx64 " reach beyond the address space", len, addr);
    switch (write_ram(s, addr, buf, len, true, &bad)) {
    case MEM_NOTHING:
        return err(ERR_INVALID, "%" PRIu64 " bytes at %#" PRIx64 " do not fit: there is no memory at %#" PRIx64,
                   len, addr, bad);
    case MEM_DENIED:
        return err(ERR_INVALID, "%" PRIu64 " bytes at %#" PRIx64 " do not fit: a device is at %#" PRIx64,
                   len, addr, bad);
    default:
        return NULL;
    }
}

void *space_ram(Space *s, uint64_t addr, uint64_t len, bool write, RamBlock **block, uint64_t *off)
{
    const FlatRange *r = flat_find(space_flat(s), addr);

    if (!r || r->region->kind == REGION_IO || (write && r->region->kind == REGION_ROM))
        return NULL;
    if (!len || in_range(r, addr, len) != len)
        return NULL;
    uint8_t *host = ram_at(r, addr);
    if (block)
        *block = r->region->ram;
    if (off)
        *off = host - r->region->ram->host;
    return host;
}

/* ---- access to devices */

static uint64_t mask_of(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << bytes * 8) - 1;
}

/*
 * An access is cut into naturally aligned pieces of at most ops->max bytes. A
 * piece smaller than ops->min becomes the aligned word of that size around it:
 * a read takes its bytes from the word, a write has zeros in the other bytes.
 */
typedef struct Piece { uint64_t off; unsigned size, skip, take; } Piece;

static Piece piece_at(const IoOps *ops, uint64_t off, unsigned left)
{
    unsigned min = ops->min ? ops->min : 1, max = ops->max ? ops->max : 8, size = max;

    while (size > left || off & (size - 1))
        size /= 2;
    if (size >= min)
        return (Piece){ off, size, 0, size };
    unsigned skip = off & (min - 1);
    return (Piece){ off - skip, min, skip, MIN(min - skip, left) };
}

static uint64_t io_read(const Region *r, uint64_t off, unsigned size)
{
    uint64_t val = 0;

    if (!r->ops->read)
        return 0;
    for (unsigned done = 0; done < size;) {
        Piece p = piece_at(r->ops, off + done, size - done);
        uint64_t part = r->ops->read(r->dev, p.off, p.size) >> p.skip * 8 & mask_of(p.take);

        val |= part << done * 8;
        done += p.take;
    }
    return val;
}

static void io_write(const Region *r, uint64_t off, uint64_t val, unsigned size)
{
    if (!r->ops->write)
        return;
    for (unsigned done = 0; done < size;) {
        Piece p = piece_at(r->ops, off + done, size - done);

        r->ops->write(r->dev, p.off, (val >> done * 8 & mask_of(p.take)) << p.skip * 8, p.size);
        done += p.take;
    }
}

/* Is the access one for the region's ops, rather than for its RAM? */
static bool wants_ops(const Region *r, bool write)
{
    return r->kind == REGION_IO || (write && r->kind == REGION_ROM && r->ops);
}

static void io_ram(const FlatRange *r, uint64_t addr, uint64_t *val, unsigned size, bool write)
{
    if (!write) {
        *val = 0;
        ram_copy_out(val, ram_at(r, addr), size);
    } else if (r->region->kind == REGION_RAM) {
        ram_store(r, addr, val, size);
    }
}

MemResult space_io(Space *s, uint64_t addr, uint64_t *val, unsigned size, bool write)
{
    const FlatRange *r = flat_find(space_flat(s), addr);
    bool lock = false;

    if (r && !r->region->nolock && wants_ops(r->region, write) && !vm_locked(s->vm)) {
        /* What was there may have gone while we waited. */
        vm_lock(s->vm);
        lock = true;
        r = flat_find(space_flat(s), addr);
    }
    MemResult result = MEM_OK;
    if (!r || in_range(r, addr, size) != size) {
        result = MEM_NOTHING;
    } else if (!wants_ops(r->region, write)) {
        io_ram(r, addr, val, size, write);
    } else {
        uint64_t off = r->off + (addr - r->base);
        const Region *region = r->region;

        if (write)
            io_write(region, off, *val, size);
        else
            *val = io_read(region, off, size);
    }
    if (lock)
        vm_unlock(s->vm);
    return result;
}
