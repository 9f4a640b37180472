/* SPDX-License-Identifier: MIT */
/*
 * "monitor LINE" in gdb: a few commands of the stub itself; all others are the
 * machine's monitor's.
 *
 * kaslr finds where a Linux kernel has put itself. Its crash information
 * (VMCOREINFO, Documentation/admin-guide/kdump/vmcoreinfo.rst) is a page of
 * lines of text in memory that begins with OSRELEASE=; KERNELOFFSET= among them
 * is what symbols have to be moved by. Where that is not told (RISC-V), it is how
 * far _stext is from the address that the kernel was linked to, in steps of 2 MiB:
 * that needs no knowledge of the guest, only a kernel that was built with it and
 * has got as far as writing it.
 */
#include <string.h>

#include "gdb/gdb-priv.h"
#include "system/vmcoreinfo.h"

/* ---- watchpoints by physical address, which gdb knows nothing of */

static const char *const kind_names[] = { [WATCH_READ] = "read", [WATCH_WRITE] = "write", [WATCH_READ | WATCH_WRITE] = "access" };

static void list_watches(const Gdb *g, GString *out)
{
    for (guint i = 0; i < g->watches->len; i++) {
        const Watchpoint *w = &g_array_index(g->watches, Watchpoint, i);

        if (w->own)
            g_string_append_printf(out, "%u: %s of %#" PRIx64 "-%#" PRIx64 "\n", w->id, kind_names[w->kinds], w->addr, w->last);
    }
    if (!out->len)
        g_string_append(out, "no physical address is watched\n");
}

static bool number(const char *text, uint64_t *out)
{
    char *end;

    *out = g_ascii_strtoull(text, &end, 0);
    return *text && !*end;
}

static void add_watch(Gdb *g, char **words, GString *out)
{
    static const struct { const char *name; uint8_t kinds; } kinds[] = {
        { "w", WATCH_WRITE }, { "r", WATCH_READ }, { "rw", WATCH_READ | WATCH_WRITE }, { "a", WATCH_READ | WATCH_WRITE },
    };
    uint64_t addr, len = 8;
    Watchpoint w = { .physical = true, .own = true };
    const char *kind = words[1] && words[2] ? words[2] : "w";

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (!strcmp(kind, kinds[i].name))
            w.kinds = kinds[i].kinds;
    if (!number(words[0], &addr) || (words[1] && !number(words[1], &len)) || !len || addr + len - 1 < addr || !w.kinds) {
        g_string_append(out, "pwatch ADDRESS [LENGTH [w|r|rw]]\n");
        return;
    }
    w.addr = addr;
    w.last = addr + len - 1;
    g_string_append_printf(out, "%u: %s of physical %#" PRIx64 "-%#" PRIx64 "\n", watchpoint_add(g, w), kind_names[w.kinds], w.addr, w.last);
}

static void pwatch(Gdb *g, char **words, GString *out)
{
    uint64_t id;

    if (!words[0])
        list_watches(g, out);
    else if (strcmp(words[0], "-d"))
        add_watch(g, words, out);
    else if (!words[1] || !number(words[1], &id) || !watchpoint_delete(g, id))
        g_string_append(out, "pwatch -d NUMBER: one of those that 'pwatch' lists\n");
}

/* ---- where the kernel is */

enum { KASLR_STEP = 2 * 1024 * 1024 };

/* The value of KEY=... among lines; NULL: it is not there. g_free it. */
static char *line_of(const char *info, const char *key)
{
    for (const char *at = info; (at = strstr(at, key)) != NULL; at++) {
        if (at == info || at[-1] == '\n')
            return g_strndup(at + strlen(key), strcspn(at + strlen(key), "\n"));
    }
    return NULL;
}

/* How far the kernel moved; false: it does not say. */
static bool moved_by(const char *info, uint64_t *out)
{
    g_autofree char *offset = line_of(info, "KERNELOFFSET="), *linked = line_of(info, "NUMBER(KERNEL_LINK_ADDR)=");
    g_autofree char *text = line_of(info, "SYMBOL(_stext)=");

    if (offset)
        *out = g_ascii_strtoull(offset, NULL, 16);
    else if (linked && text)
        *out = (g_ascii_strtoull(text, NULL, 16) - g_ascii_strtoull(linked, NULL, 16)) & ~(uint64_t)(KASLR_STEP - 1);
    return offset || (linked && text);
}

static void kaslr(Gdb *g, GString *out)
{
    g_autofree char *info = vmcoreinfo_find(g->vm);

    if (!info) {
        g_string_append(out, "no Linux kernel has left crash information (VMCOREINFO) in memory: it has none, or has not got that far\n");
        return;
    }
    g_autofree char *release = line_of(info, "OSRELEASE="), *text = line_of(info, "SYMBOL(_stext)=");
    uint64_t moved;

    g_string_append_printf(out, "Linux %s", release ? release : "of unknown release");
    if (!moved_by(info, &moved))
        g_string_append_printf(out, "; it does not say whether it moved; its _stext is at %s%s\n", text ? "0x" : "", text ? text : "an unknown address");
    else if (!moved)
        g_string_append(out, " is where it was linked to\n");
    else
        g_string_append_printf(out, ", moved by %#" PRIx64 "\nsymbol-file vmlinux -o %#" PRIx64 "\n", moved, moved);
}

static void vmcoreinfo(Gdb *g, GString *out)
{
    g_autofree char *info = vmcoreinfo_find(g->vm);

    g_string_append(out, info ? info : "there is no VMCOREINFO in memory\n");
}

static const char help[] =
    "The stub's own commands:\n"
    "  kaslr                              where Linux has put itself, for symbol-file -o\n"
    "  vmcoreinfo                         what Linux says of itself to crash tools\n"
    "  pwatch ADDRESS [LENGTH [w|r|rw]]   stop behind accesses to a physical address, by whatever virtual one\n"
    "  pwatch [-d NUMBER]                 list those, take one away\n";

char *monitor_said(Gdb *g, const char *line)
{
    g_auto(GStrv) all = g_strsplit_set(line, " \t\n", -1);
    GPtrArray *words = g_ptr_array_new();
    GString *out = g_string_new(NULL);
    Vm *vm = g->vm;

    for (char **w = all; *w; w++)
        if (**w)
            g_ptr_array_add(words, *w);
    g_ptr_array_add(words, NULL);
    const char *first = words->pdata[0] ? words->pdata[0] : "";

    if (!strcmp(first, "kaslr")) {
        kaslr(g, out);
    } else if (!strcmp(first, "vmcoreinfo")) {
        vmcoreinfo(g, out);
    } else if (!strcmp(first, "pwatch")) {
        pwatch(g, (char **)words->pdata + 1, out);
    } else {
        if (!strcmp(first, "help") && !words->pdata[1])
            g_string_append(out, help);
        if (vm->monitor_line) {
            g_autofree char *said = vm->monitor_line(vm, line);
            g_string_append(out, said ? said : "");
        } else if (!out->len) {
            g_string_append_printf(out, "this machine has no monitor that knows '%s'; 'help' lists what the stub does itself\n", first);
        }
    }
    g_ptr_array_free(words, true);
    return g_string_free(out, false);
}
