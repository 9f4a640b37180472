/* SPDX-License-Identifier: MIT */
/*
 * A dump as a job: what it takes of the machine, its thread, its end.
 *
 * The machine stands; devices may still finish what they have begun. What was
 * gathered here is all that the writer's thread looks at.
 */
#include "dump/dump-priv.h"

#include <string.h>
#include <unistd.h>

#include "system/vcpu.h"
#include "target/isa.h"

enum { MAPS_MAX = 1 << 18 };

static void forget(struct Dump *d)
{
    if (d->fd >= 0)
        close(d->fd);
    g_array_free(d->blocks, TRUE);
    g_array_free(d->maps, TRUE);
    g_byte_array_free(d->notes, TRUE);
    err_free(d->error);
    g_free(d->why);
    g_free(d);
}

/* ---- what is in it */

/* RAM, and ROM that is nothing else. */
static void gather_blocks(struct Dump *d)
{
    const Flat *f = space_flat(d->vm->mem);
    const DumpRequest *q = &d->request;

    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];
        uint64_t from = r->base, last = r->last;

        if (r->region->kind == REGION_IO || (r->region->kind == REGION_ROM && r->region->ops))
            continue;
        if (q->filter) {
            from = MAX(from, q->begin);
            last = MIN(last, q->begin + (q->length - 1));
        }
        if (q->format != DUMP_ELF) {            /* whole pages */
            from = (from + DUMP_PAGE - 1) & ~(uint64_t)(DUMP_PAGE - 1);
            last = ((last + 1) & ~(uint64_t)(DUMP_PAGE - 1)) - 1;
        }
        if (from > last)
            continue;
        DumpBlock b = { from, last - from + 1, r->region->ram->host + r->region->ram_off + r->off + (from - r->base) };
        g_array_append_val(d->blocks, b);
        d->total += b.size;
    }
}

static void add_map(void *opaque, uint64_t va, uint64_t size, const Mapping *m)
{
    struct Dump *d = opaque;
    DumpMap map = { va, m->pa, size };

    if (d->maps->len <= MAPS_MAX)
        g_array_append_val(d->maps, map);
}

typedef struct Walk { struct Dump *d; bool whole; } Walk;

static void walk(Vcpu *v, void *opaque)
{
    Walk *w = opaque;

    w->whole = isa_mappings(v, add_map, w->d);
}

/* CPUs that use the same tables are the rule: what two have alike is told once. */
static int by_va(const void *a, const void *b)
{
    const DumpMap *x = a, *y = b;

    return x->va != y->va ? (x->va > y->va) - (x->va < y->va) : (x->pa > y->pa) - (x->pa < y->pa);
}

static Err *gather_maps(struct Dump *d)
{
    Walk w = { d, true };

    for (int i = 0; i < d->vm->nvcpus && w.whole; i++)
        vcpu_run_on(d->vm->vcpus[i], walk, &w, true);
    if (!w.whole || d->maps->len > MAPS_MAX)
        return err_hint(err(ERR_UNSUPPORTED, "dump: the guest's page tables are too large"), "Dump without paging.");
    g_array_sort(d->maps, by_va);
    guint n = 0;
    for (guint i = 0; i < d->maps->len; i++) {
        const DumpMap *m = &g_array_index(d->maps, DumpMap, i);

        if (!n || memcmp(m, &g_array_index(d->maps, DumpMap, n - 1), sizeof(*m)))
            g_array_index(d->maps, DumpMap, n++) = *m;
    }
    g_array_set_size(d->maps, n);
    return NULL;
}

/* ---- its life */

static Err *write_all(struct Dump *d)
{
    TRY(dump_out_begin(d));
    TRY(d->request.format == DUMP_ELF ? dump_elf(d) : dump_kdump(d));
    return dump_out_end(d);
}

static void tell(struct Dump *d)
{
    Vm *vm = d->vm;
    DumpInfo info;

    if (d->error && err_hint_text(d->error))
        d->why = g_strdup_printf("%s. %s", err_text(d->error), err_hint_text(d->error));
    else
        d->why = d->error ? g_strdup(err_text(d->error)) : NULL;
    d->status = d->error ? DUMP_FAILED : DUMP_COMPLETED;
    close(d->fd);
    d->fd = -1;
    dump_info(vm, &info);
    if (d->over)
        d->over(vm, &info);
    if (d->resumes)
        vm_start(vm);
}

static void ended(void *opaque)
{
    struct Dump *d = opaque;

    pthread_join(d->thread, NULL);
    d->threaded = false;
    tell(d);
}

static void *writer(void *opaque)
{
    struct Dump *d = opaque;

    d->error = write_all(d);
    vm_call_main(d->vm, ended, d);
    return NULL;
}

static Err *gather(struct Dump *d)
{
    gather_blocks(d);
    if (!d->blocks->len)
        return err(ERR_INVALID, "dump: no guest memory to dump");
    if (d->request.format == DUMP_KDUMP_RAW_ZLIB && !dump_out_seeks(d))
        return err_hint(err(ERR_INVALID, "kdump-raw formats require a seekable file"), "kdump-zlib does not.");
    if (d->request.paging)
        TRY(gather_maps(d));
    dump_notes(d);
    return NULL;
}

static Err *begin(struct Dump *d)
{
    TRY(gather(d));
    d->status = DUMP_ACTIVE;
    if (!d->request.detach) {
        d->error = write_all(d);
        return NULL;
    }
    if (pthread_create(&d->thread, NULL, writer, d))
        return err(ERR_IO, "dump: no thread could be made");
    d->threaded = true;
    return NULL;
}

Err *dump_start(Vm *vm, int fd, const DumpRequest *r, void (*over)(Vm *, const DumpInfo *))
{
    struct Dump *d;

    if (dump_goes_on(vm)) {
        close(fd);
        return err(ERR_BUSY, "There is a dump in process, please wait.");
    }
    dump_free(vm);
    d = g_new0(struct Dump, 1);
    *d = (struct Dump){
        .vm = vm, .request = *r, .over = over, .fd = fd, .flat = r->format == DUMP_KDUMP_ZLIB, .resumes = vm->state == RUN_RUNNING,
        .blocks = g_array_new(FALSE, FALSE, sizeof(DumpBlock)), .maps = g_array_new(FALSE, FALSE, sizeof(DumpMap)),
        .notes = g_byte_array_new(),
    };
    vm->dump = d;
    if (d->resumes)
        vm_stop(vm, RUN_PAUSED);
    Err *e = begin(d);
    if (e) {
        if (d->resumes)
            vm_start(vm);
        dump_free(vm);
        return e;
    }
    if (r->detach)
        return NULL;
    tell(d);
    return d->status == DUMP_FAILED ? err(ERR_IO, "%s", d->why) : NULL;
}

void dump_info(Vm *vm, DumpInfo *out)
{
    struct Dump *d = vm->dump;

    *out = (DumpInfo){ DUMP_NONE };
    if (d)
        *out = (DumpInfo){ d->status, atomic_load(&d->completed), d->total, d->why };
}

bool dump_goes_on(const Vm *vm)
{
    return vm->dump && vm->dump->status == DUMP_ACTIVE;
}

void dump_free(Vm *vm)
{
    struct Dump *d = vm->dump;

    if (!d)
        return;
    atomic_store(&d->cancel, true);
    if (d->threaded)
        pthread_join(d->thread, NULL);
    vm_forget_calls(vm, d);
    vm->dump = NULL;
    forget(d);
}
