/* SPDX-License-Identifier: MIT */
/*
 * A kernel's symbols as text ("ADDRESS TYPE NAME [MODULE]", as in /proc/kallsyms
 * and System.map), made into an ELF file that gdb can read: symbols and the
 * sections that they lie in, no contents and no lines. Each run of addresses with
 * symbols of one kind is a section of its own, so that none overlap.
 */
#include "cmd/gdb.h"

#include <elf.h>
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/path.h"

enum { SECTIONS_MAX = 60000, FIXED = 3 /* no section, .symtab, .strtab: the first three */, LINE_MAX_LENGTH = 1024 };

typedef struct Symbol { uint64_t addr; const char *name; bool code; } Symbol;

/* Where a line's parts are; false: it is none. The name ends where the line does, or at a tab or blank. */
static bool take_line(const char *line, Symbol *s, size_t *name_len)
{
    char *end;

    if (!g_ascii_isxdigit(line[0]))
        return false;
    s->addr = g_ascii_strtoull(line, &end, 16);
    if (end[0] != ' ' || !g_ascii_isalpha(end[1]) || end[2] != ' ')
        return false;
    s->code = strchr("tTwW", end[1]) != NULL;
    s->name = end + 3;
    *name_len = strcspn(s->name, " \t\r\n");
    return *name_len > 0;
}

bool gdb_symbols_are_text(const char *path)
{
    char line[LINE_MAX_LENGTH];
    Symbol s;
    size_t n;
    FILE *f = fopen(path, "re");
    bool is = f && fgets(line, sizeof(line), f) && take_line(line, &s, &n);

    if (f)
        fclose(f);
    return is;
}

static int by_address(const void *a, const void *b)
{
    const Symbol *x = a, *y = b;

    return x->addr != y->addr ? (x->addr < y->addr ? -1 : 1) : x->name < y->name ? -1 : x->name > y->name;
}

/* In `text`, which their names point into and which is cut there. Labels of the compiler's are left out. */
static GArray *read_symbols(char *text)
{
    GArray *out = g_array_new(false, false, sizeof(Symbol));

    for (char *line = text, *next; line; line = next) {
        Symbol s;
        size_t n;

        next = strchr(line, '\n');
        next = next ? next + 1 : NULL;
        if (!take_line(line, &s, &n) || !s.addr || s.name[0] == '$' || !strncmp(s.name, ".L", 2))
            continue;
        ((char *)s.name)[n] = 0;
        g_array_append_val(out, s);
    }
    g_array_sort(out, by_address);
    return out;
}

typedef struct Elf { GArray *sections, *symbols; GByteArray *names; } Elf;

static uint32_t add_name(Elf *e, const char *name)
{
    uint32_t at = e->names->len;

    g_byte_array_append(e->names, (const uint8_t *)name, strlen(name) + 1);
    return at;
}

static void add_section(Elf *e, const Symbol *s, const uint32_t names[2])
{
    Elf64_Shdr h = { .sh_name = names[s->code], .sh_type = SHT_NOBITS, .sh_addr = s->addr, .sh_addralign = 1,
                     .sh_flags = SHF_ALLOC | (s->code ? SHF_EXECINSTR : SHF_WRITE) };

    g_array_append_val(e->sections, h);
}

static void add_symbols(Elf *e, const GArray *all)
{
    uint32_t names[2] = { add_name(e, ".data"), add_name(e, ".text") };
    bool code = false;

    for (guint i = 0; i < all->len; i++) {
        const Symbol *s = &g_array_index(all, Symbol, i);

        if (e->sections->len == FIXED || (s->code != code && e->sections->len < SECTIONS_MAX))
            add_section(e, s, names);
        code = s->code;
        /* It reaches to where the next one begins. */
        Elf64_Shdr *h = &g_array_index(e->sections, Elf64_Shdr, e->sections->len - 1);
        uint64_t next = i + 1 < all->len ? g_array_index(all, Symbol, i + 1).addr : (s->addr | 0xfff) + 1;
        h->sh_size = next - h->sh_addr;
        Elf64_Sym y = { .st_name = add_name(e, s->name), .st_info = ELF64_ST_INFO(STB_GLOBAL, code ? STT_FUNC : STT_OBJECT),
                        .st_shndx = e->sections->len - 1, .st_value = s->addr };
        g_array_append_val(e->symbols, y);
    }
}

static GByteArray *assemble(Elf *e)
{
    GByteArray *out = g_byte_array_new();
    Elf64_Ehdr eh = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC,
                      .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_ehsize = sizeof(Elf64_Ehdr),
                      .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = e->sections->len, .e_shstrndx = 2 };
    uint64_t symbols = sizeof(eh), nsymbols = e->symbols->len * sizeof(Elf64_Sym);
    Elf64_Shdr *fixed = (Elf64_Shdr *)e->sections->data;

    fixed[1] = (Elf64_Shdr){ .sh_name = add_name(e, ".symtab"), .sh_type = SHT_SYMTAB, .sh_offset = symbols, .sh_size = nsymbols,
                             .sh_link = 2, .sh_info = 1, .sh_addralign = 8, .sh_entsize = sizeof(Elf64_Sym) };
    fixed[2] = (Elf64_Shdr){ .sh_name = add_name(e, ".strtab"), .sh_type = SHT_STRTAB, .sh_offset = symbols + nsymbols,
                             .sh_addralign = 1 };
    while (e->names->len % 8)
        g_byte_array_append(e->names, (const uint8_t *)"", 1);
    fixed[2].sh_size = e->names->len;
    eh.e_shoff = symbols + nsymbols + e->names->len;
    g_byte_array_append(out, (const uint8_t *)&eh, sizeof(eh));
    g_byte_array_append(out, (const uint8_t *)e->symbols->data, nsymbols);
    g_byte_array_append(out, e->names->data, e->names->len);
    g_byte_array_append(out, (const uint8_t *)e->sections->data, e->sections->len * sizeof(Elf64_Shdr));
    return out;
}

static GByteArray *make(const GArray *all)
{
    static const Elf64_Sym no_symbol;
    Elf e = { g_array_new(false, true, sizeof(Elf64_Shdr)), g_array_new(false, false, sizeof(Elf64_Sym)), g_byte_array_new() };

    g_array_set_size(e.sections, FIXED);
    g_array_append_val(e.symbols, no_symbol);
    add_name(&e, "");
    add_symbols(&e, all);
    GByteArray *out = assemble(&e);
    g_array_free(e.sections, true);
    g_array_free(e.symbols, true);
    g_byte_array_free(e.names, true);
    return out;
}

static Err *save(const char *path, const GByteArray *elf, char **out)
{
    g_autofree char *whole = g_canonicalize_filename(path, NULL), *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, whole, -1);
    g_autofree char *dir = g_build_filename(g_get_user_cache_dir(), "lyre", "gdb", NULL), *base = g_path_get_basename(path);
    g_autofree char *name = g_strdup_printf("%s-%.12s.elf", base, sum), *file = g_build_filename(dir, name, NULL);
    g_autoptr(GError) why = NULL;

    if (g_mkdir_with_parents(dir, 0700) < 0)
        return err_path(errno, dir, "cannot make the folder '%s'", dir);
    if (!g_file_set_contents(file, (const char *)elf->data, elf->len, &why))
        return err(ERR_IO, "%s", why->message);
    *out = g_steal_pointer(&file);
    return NULL;
}

Err *gdb_symbols_to_elf(const char *path, char **out)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;

    if (!g_file_get_contents(path, &text, NULL, &why))
        return err(ERR_IO, "%s", why->message);
    g_autoptr(GArray) all = read_symbols(text);
    if (!all->len)
        return err_hint(err(ERR_INVALID, "'%s' has no symbols with addresses", path),
                        "A kernel shows them to root, after: echo 0 > /proc/sys/kernel/kptr_restrict");
    g_autoptr(GByteArray) elf = make(all);
    return save(path, elf, out);
}
