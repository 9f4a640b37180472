/* SPDX-License-Identifier: MIT */
/* Memory and values as people ask for them: x, xp, print, where an address is. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "monitor/hmp/hmp-priv.h"
#include "monitor/memory.h"
#include "monitor/monitor-priv.h"

/* ---- formats: "/COUNT FORMAT SIZE" */

enum { ITEMS_MAX = 1 << 20, TEXT_MAX = 4096 };

typedef struct Format { uint64_t count; char kind; unsigned size; } Format;

static Err *parse_format(const char *text, Format *f)
{
    static const char sizes[] = "bhwg";
    char *end;

    *f = (Format){ 1, 0, 0 };
    if (!text)
        text = "";
    if (g_ascii_isdigit(*text)) {
        f->count = g_ascii_strtoull(text, &end, 10);
        text = end;
    }
    for (; *text; text++) {
        if (strchr("xduocis", *text))
            f->kind = *text;
        else if (strchr(sizes, *text))
            f->size = 1u << (strchr(sizes, *text) - sizes);
        else
            return err_hint(err(ERR_INVALID, "invalid char in format: '%c'", *text), "It is a count, one of x d u o c i s, and one of b h w g.");
    }
    if (f->count > ITEMS_MAX)
        return err(ERR_INVALID, "%" PRIu64 " is too much: at most %d at once", f->count, ITEMS_MAX);
    f->kind = f->kind ? f->kind : 'x';
    return NULL;
}

static void add_char(GString *out, uint8_t c)
{
    if (c == '\'' || c == '\\')
        g_string_append_printf(out, "'\\%c'", c);
    else if (c == '\n' || c == '\r')
        g_string_append(out, c == '\n' ? "'\\n'" : "'\\r'");
    else if (c < 32 || c > 126)
        g_string_append_printf(out, "'\\x%02x'", c);
    else
        g_string_append_printf(out, "'%c'", c);
}

/* Of `size` bytes; padded so that columns of the widest stand one below the other, or not. */
static void add_value(GString *out, char kind, unsigned size, uint64_t v, bool pad)
{
    static const int dec[] = { [1] = 3, [2] = 5, [4] = 10, [8] = 20 }, oct[] = { [1] = 4, [2] = 7, [4] = 12, [8] = 23 };
    int64_t s = size == 8 ? (int64_t)v : (int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size);

    switch (kind) {
    case 'd': g_string_append_printf(out, "%*" PRId64, pad ? dec[size] + 1 : 0, s); break;
    case 'u': g_string_append_printf(out, "%*" PRIu64, pad ? dec[size] : 0, v); break;
    case 'o': g_string_append_printf(out, "%#*" PRIo64, pad ? oct[size] : 0, v); break;
    case 'c': add_char(out, (uint8_t)v); break;
    default:  g_string_append_printf(out, "0x%0*" PRIx64, pad ? 2 * (int)size : 0, v); break;
    }
}

/* ---- x and xp */

typedef struct Dump { Vm *vm; Vcpu *v; uint64_t at; GString *out; } Dump;      /* v NULL: physical */

static void no_memory(const Dump *d)
{
    g_string_append(d->out, "Cannot access memory\n");
}

static void dump_values(Dump *d, const Format *f)
{
    unsigned size = f->kind == 'c' ? 1 : f->size ? f->size : 4, row = f->kind == 'c' || size == 1 ? 8 : 16;
    uint64_t left = f->count * size;

    while (left) {
        uint64_t n = MIN(left, (uint64_t)row), i = 0;

        g_string_append_printf(d->out, "%016" PRIx64 ":", d->at);
        for (; i < n; i += size) {
            uint64_t v = 0;

            if (memory_read(d->vm, d->v, d->at + i, &v, size, true) < size)
                break;
            g_string_append_c(d->out, ' ');
            add_value(d->out, f->kind, size, v, true);
        }
        if (i < n) {
            g_string_append_c(d->out, ' ');
            no_memory(d);
            return;
        }
        g_string_append_c(d->out, '\n');
        d->at += n;
        left -= n;
    }
}

static void dump_code(Dump *d, uint64_t count)
{
    const Isa *isa = d->vm->isa;
    char text[128];

    for (; count && isa; count--) {
        uint8_t code[16] = { 0 };
        unsigned have = (unsigned)memory_read(d->vm, d->v, d->at, code, MIN(isa->max_insn, sizeof(code)), false);
        int n = have ? isa->print(text, sizeof(text), code, have, d->at) : 0;

        if (n <= 0 || (unsigned)n > have) {
            g_string_append_printf(d->out, "0x%016" PRIx64 ":  ", d->at);
            no_memory(d);
            return;
        }
        g_string_append_printf(d->out, "0x%016" PRIx64 ":  ", d->at);
        for (int i = n; i > 0; i--)
            g_string_append_printf(d->out, "%02x", code[i - 1]);
        g_string_append_printf(d->out, "%*s%s\n", MAX(18 - 2 * n, 1), "", text);
        d->at += (unsigned)n;
    }
}

static void dump_text(Dump *d, uint64_t count)
{
    for (; count; count--) {
        bool ended = false;

        g_string_append_printf(d->out, "%016" PRIx64 ": \"", d->at);
        for (int i = 0; i < TEXT_MAX && !ended; i++) {
            uint8_t c = 0;

            if (!memory_read(d->vm, d->v, d->at, &c, 1, false)) {
                g_string_append(d->out, "\" ");
                no_memory(d);
                return;
            }
            d->at++;
            ended = !c;
            if (c >= 32 && c < 127)
                g_string_append_printf(d->out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
            else if (c)
                g_string_append_printf(d->out, c == '\n' ? "\\n" : "\\x%02x", c);
        }
        g_string_append(d->out, ended ? "\"\n" : "\"..\n");
    }
}

static Err *dump(Monitor *m, Vcpu *v, const char *fmt, int64_t addr, GString *out)
{
    Dump d = { m->vm, v, (uint64_t)addr, out };
    Format f;

    TRY(parse_format(fmt, &f));
    if (f.kind == 'i')
        dump_code(&d, f.count);
    else if (f.kind == 's')
        dump_text(&d, f.count);
    else
        dump_values(&d, &f);
    return NULL;
}

Err *hmp_x(Monitor *m, const HmpXArgs *args, GString *out)
{
    Vcpu *v = NULL;

    TRY(monitor_vcpu(m, &v));
    return dump(m, v, args->fmt, args->addr, out);
}

Err *hmp_xp(Monitor *m, const HmpXpArgs *args, GString *out)
{
    return dump(m, NULL, args->fmt, args->addr, out);
}

Err *hmp_print(Monitor *m, const HmpPrintArgs *args, GString *out)
{
    Format f;

    TRY(parse_format(args->fmt, &f));
    if (f.kind == 'i' || f.kind == 's')
        return err(ERR_INVALID, "a value is no %s", f.kind == 'i' ? "instruction" : "text");
    add_value(out, f.kind, 8, (uint64_t)args->expr, false);
    g_string_append_c(out, '\n');
    return NULL;
}

Err *hmp_sum(Monitor *m, const HmpSumArgs *args, GString *out)
{
    enum { STEP = 4096 };
    uint8_t buf[STEP];
    uint16_t sum = 0;

    if (args->size < 0)
        return err(ERR_INVALID, "size is negative");
    for (uint64_t at = 0, n; at < (uint64_t)args->size; at += n) {
        n = MIN((uint64_t)args->size - at, (uint64_t)STEP);
        if (memory_read(m->vm, NULL, (uint64_t)args->addr + at, buf, n, false) < n)
            return err(ERR_INVALID, "Cannot access memory");
        for (uint64_t i = 0; i < n; i++)
            sum = (uint16_t)((sum >> 1 | sum << 15) + buf[i]);
    }
    g_string_append_printf(out, "%05u\n", sum);
    return NULL;
}

/* ---- where things are */

Err *hmp_gva2gpa(Monitor *m, const HmpGva2gpaArgs *args, GString *out)
{
    Vcpu *v = NULL;
    uint64_t pa;

    TRY(monitor_vcpu(m, &v));
    if (memory_find(v, (uint64_t)args->addr, &pa))
        g_string_append_printf(out, "gpa: %#" PRIx64 "\n", pa);
    else
        g_string_append(out, "Unmapped\n");
    return NULL;
}

static Err *find_ram(Vm *vm, uint64_t pa, uint64_t shown, const char **name, void **host)
{
    const FlatRange *r = flat_find(space_flat(vm->mem), pa);

    if (!r)
        return err(ERR_INVALID, "No memory is mapped at address %#" PRIx64, shown);
    if (r->region->kind == REGION_IO)
        return err(ERR_INVALID, "Memory at address %#" PRIx64 " is not RAM", shown);
    *name = r->region->name;
    *host = r->region->ram->host + r->region->ram_off + r->off + (pa - r->base);
    return NULL;
}

static Err *host_address(Vm *vm, uint64_t pa, uint64_t shown, GString *out)
{
    const char *name = NULL;
    void *host = NULL;

    TRY(find_ram(vm, pa, shown, &name, &host));
    g_string_append_printf(out, "Host virtual address for %#" PRIx64 " (%s) is %p\n", shown, name, host);
    return NULL;
}

/* Linux's Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page; bit 63: it is there, 54..0: its frame. */
static Err *host_frame(const void *host, uint64_t *frame)
{
    uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE), entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_errno(errno, "Cannot open /proc/self/pagemap");
    ssize_t n = pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)host / size * sizeof(entry)));
    close(fd);
    if (n != sizeof(entry))
        return err(ERR_IO, "Cannot read /proc/self/pagemap");
    if (!(entry >> 63))
        return err(ERR_INVALID, "Page not present");
    entry &= (UINT64_C(1) << 55) - 1;
    if (!entry)
        return err_hint(err(ERR_IO, "the host does not say where its pages are"), "That takes CAP_SYS_ADMIN.");
    *frame = entry * size + (uintptr_t)host % size;
    return NULL;
}

Err *hmp_gpa2hpa(Monitor *m, const HmpGpa2hpaArgs *args, GString *out)
{
    const char *name = NULL;
    void *host = NULL;
    uint64_t frame = 0;

    TRY(find_ram(m->vm, (uint64_t)args->addr, (uint64_t)args->addr, &name, &host));
    TRY(host_frame(host, &frame));
    g_string_append_printf(out, "Host physical address for %#" PRIx64 " (%s) is %#" PRIx64 "\n", (uint64_t)args->addr, name, frame);
    return NULL;
}

Err *hmp_gpa2hva(Monitor *m, const HmpGpa2hvaArgs *args, GString *out)
{
    return host_address(m->vm, (uint64_t)args->addr, (uint64_t)args->addr, out);
}

Err *hmp_gva2hva(Monitor *m, const HmpGva2hvaArgs *args, GString *out)
{
    Vcpu *v = NULL;
    uint64_t pa;

    TRY(monitor_vcpu(m, &v));
    if (!memory_find(v, (uint64_t)args->addr, &pa))
        return err(ERR_INVALID, "No memory is mapped at address %#" PRIx64, (uint64_t)args->addr);
    return host_address(m->vm, pa, (uint64_t)args->addr, out);
}

/* ---- ports */

static Err *no_ports(const char *fmt)
{
    Format f;

    TRY(parse_format(fmt, &f));
    return err_hint(err(ERR_UNSUPPORTED, "this guest's CPUs have no I/O ports"), "Those of PCI are memory: 'info mtree' shows where, xp reads it.");
}

Err *hmp_i(Monitor *m, const HmpIArgs *args, GString *out)
{
    return no_ports(args->fmt);
}

Err *hmp_o(Monitor *m, const HmpOArgs *args, GString *out)
{
    return no_ports(args->fmt);
}

/* ---- page tables */

enum { LINES_MAX = 65536 };

typedef struct Walk { GString *out; unsigned lines; bool whole, any; } Walk;

static void mem_line(void *opaque, uint64_t va, uint64_t size, const Mapping *m)
{
    Walk *w = opaque;

    if (w->lines++ < LINES_MAX)
        g_string_append_printf(w->out, "%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %s\n", va, m->pa, size, m->attr);
}

static void walk_mem(Vcpu *v, void *opaque)
{
    Walk *w = opaque;
    Mapping m;

    w->any = v->isa->mapping && v->isa->mapping(v, 0, &m);
    w->whole = !w->any || isa_mappings(v, mem_line, w);
}

static void walk_tlb(Vcpu *v, void *opaque)
{
    enum { STEPS = 1 << 22 };
    Walk *w = opaque;
    uint64_t va = 0;
    Mapping m;

    w->whole = false;
    for (int i = 0; i < STEPS && v->isa->mapping && v->isa->mapping(v, va, &m); i++, va = m.last + 1) {
        w->any = true;
        if (m.mapped)
            mem_line(w, va, m.last - va + 1, &m);
        if (m.last == UINT64_MAX || w->lines >= LINES_MAX) {
            w->whole = w->lines < LINES_MAX;
            return;
        }
    }
}

static Err *page_tables(Monitor *m, void (*fn)(Vcpu *, void *), GString *out)
{
    Walk w = { .out = g_string_new(NULL) };
    Vcpu *v = NULL;

    Err *e = monitor_vcpu(m, &v);
    if (!e) {
        vcpu_run_on(v, fn, &w, true);
        if (!w.any)
            g_string_append(out, "No translation or protection\n");
        else
            g_string_append_printf(out, "vaddr            paddr            size             attr\n"
                                   "---------------- ---------------- ---------------- -------\n%s%s", w.out->str,
                                   w.whole && w.lines <= LINES_MAX ? "" : "...\n");
    }
    g_string_free(w.out, TRUE);
    return e;
}

Err *hmp_info_mem(Monitor *m, const HmpInfoMemArgs *args, GString *out)
{
    return page_tables(m, walk_mem, out);
}

Err *hmp_info_tlb(Monitor *m, const HmpInfoTlbArgs *args, GString *out)
{
    return page_tables(m, walk_tlb, out);
}
