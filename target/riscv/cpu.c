/* SPDX-License-Identifier: MIT */
/*
 * CPU models and their extensions: the rows behind `-cpu NAME,ext=on|off`, misa
 * and the device tree's riscv,isa.
 */
#include <string.h>

#include "target/riscv/cpu.h"
#include "target/riscv/priv.h"
#include "util/opts.h"

enum Model { RV64 = 1, RVA22 = 2, MAX = 4, ALL_MODELS = 7 };

typedef struct ExtRow {
    RvExt ext;
    const char *name;
    unsigned models;            /* where it is on by default */
    bool in_isa;                /* listed in riscv,isa */
    int needs;                  /* another RvExt that must be on, or -1 */
    const char *doc;
} ExtRow;

/* In the order in which riscv,isa lists them (unprivileged manual, naming chapter). */
static const ExtRow ext_rows[] = {
    { RV_I, "i", ALL_MODELS, true, -1, "base integer instructions" },
    { RV_M, "m", ALL_MODELS, true, -1, "multiplication and division" },
    { RV_A, "a", ALL_MODELS, true, -1, "atomic instructions" },
    { RV_F, "f", ALL_MODELS, true, RV_ZICSR, "single-precision floating point" },
    { RV_D, "d", ALL_MODELS, true, RV_F, "double-precision floating point" },
    { RV_C, "c", ALL_MODELS, true, -1, "compressed instructions" },
    { RV_S, "s", ALL_MODELS, false, RV_U, "supervisor mode" },
    { RV_U, "u", ALL_MODELS, false, -1, "user mode" },
    { RV_ZICBOM, "zicbom", ALL_MODELS, true, -1, "cache-block management" },
    { RV_ZICBOP, "zicbop", ALL_MODELS, true, -1, "cache-block prefetch" },
    { RV_ZICBOZ, "zicboz", ALL_MODELS, true, -1, "cache-block zero" },
    { RV_ZICNTR, "zicntr", ALL_MODELS, true, RV_ZICSR, "base counters and time" },
    { RV_ZICOND, "zicond", RV64 | MAX, true, -1, "integer conditional operations" },
    { RV_ZICSR, "zicsr", ALL_MODELS, true, -1, "control and status registers" },
    { RV_ZIFENCEI, "zifencei", ALL_MODELS, true, -1, "instruction-fetch fence" },
    { RV_ZIHINTNTL, "zihintntl", RV64 | MAX, true, -1, "non-temporal locality hints" },
    { RV_ZIHINTPAUSE, "zihintpause", ALL_MODELS, true, -1, "pause hint" },
    { RV_ZIHPM, "zihpm", ALL_MODELS, true, RV_ZICSR, "hardware performance counters" },
    { RV_ZIMOP, "zimop", MAX, true, -1, "may-be-operations" },
    { RV_ZABHA, "zabha", MAX, true, RV_A, "byte and halfword atomic operations" },
    { RV_ZACAS, "zacas", MAX, true, RV_A, "atomic compare-and-swap" },
    { RV_ZAWRS, "zawrs", RV64 | MAX, true, -1, "wait on reservation set" },
    { RV_ZFA, "zfa", RV64 | MAX, true, RV_F, "additional floating point" },
    { RV_ZFHMIN, "zfhmin", RVA22 | MAX, true, RV_F, "minimal half-precision floating point" },
    { RV_ZCB, "zcb", MAX, true, RV_C, "additional compressed instructions" },
    { RV_ZCMOP, "zcmop", MAX, true, RV_C, "compressed may-be-operations" },
    { RV_ZBA, "zba", ALL_MODELS, true, -1, "address generation" },
    { RV_ZBB, "zbb", ALL_MODELS, true, -1, "basic bit manipulation" },
    { RV_ZBC, "zbc", RV64 | MAX, true, -1, "carry-less multiplication" },
    { RV_ZBKB, "zbkb", MAX, true, -1, "bit manipulation for cryptography" },
    { RV_ZBKC, "zbkc", MAX, true, -1, "carry-less multiplication for cryptography" },
    { RV_ZBKX, "zbkx", MAX, true, -1, "crossbar permutations" },
    { RV_ZBS, "zbs", ALL_MODELS, true, -1, "single-bit instructions" },
    { RV_ZKND, "zknd", MAX, true, -1, "AES decryption" },
    { RV_ZKNE, "zkne", MAX, true, -1, "AES encryption" },
    { RV_ZKNH, "zknh", MAX, true, -1, "SHA-2 hash functions" },
    { RV_ZKR, "zkr", MAX, true, RV_ZICSR, "entropy source" },
    { RV_ZKT, "zkt", RVA22 | MAX, true, -1, "data-independent execution latency" },
    { RV_SMAIA, "smaia", 0, true, RV_ZICSR, "AIA for machine mode; a board with an IMSIC has it on" },
    { RV_SMSTATEEN, "smstateen", MAX, true, -1, "state enable" },
    { RV_SSAIA, "ssaia", 0, true, RV_S, "AIA for supervisor mode; a board with an IMSIC has it on" },
    { RV_SSCOFPMF, "sscofpmf", MAX, true, RV_ZIHPM, "counter overflow and mode filtering" },
    { RV_SSTC, "sstc", ALL_MODELS, true, RV_S, "supervisor timer compare" },
    { RV_SVADE, "svade", RVA22, true, RV_S, "page fault when A or D must be set" },
    { RV_SVADU, "svadu", RV64 | MAX, true, RV_S, "A and D bits are set by hardware" },
    { RV_SVINVAL, "svinval", ALL_MODELS, true, RV_S, "fine-grained address-translation fences" },
    { RV_SVNAPOT, "svnapot", RV64 | MAX, true, RV_S, "naturally aligned power-of-two pages" },
    { RV_SVPBMT, "svpbmt", ALL_MODELS, true, RV_S, "page-based memory types" },
    { RV_SV39, "sv39", ALL_MODELS, false, RV_S, "39-bit virtual addresses" },
    { RV_SV48, "sv48", ALL_MODELS, false, RV_SV39, "48-bit virtual addresses" },
    { RV_SV57, "sv57", RV64 | MAX, false, RV_SV48, "57-bit virtual addresses" },
};

/* Names that stand for several rows. */
static const struct { const char *name; uint64_t exts; } bundles[] = {
    { "zkn", BIT(RV_ZBKB) | BIT(RV_ZBKC) | BIT(RV_ZBKX) | BIT(RV_ZKND) | BIT(RV_ZKNE) | BIT(RV_ZKNH) },
    { "x-aia", BIT(RV_SMAIA) | BIT(RV_SSAIA) },
    { "g", BIT(RV_I) | BIT(RV_M) | BIT(RV_A) | BIT(RV_F) | BIT(RV_D) | BIT(RV_ZICSR) | BIT(RV_ZIFENCEI) },
};

/* Extensions that people ask for and that are still to come. */
static const char *const not_yet[] = { "v", "h", "zfh", "zvfh", "zvbb", "smepmp", NULL };

static const struct { const char *name, *doc; unsigned model; } models[] = {
    { "rv64", "generic 64-bit processor (default)", RV64 },
    { "rva22s64", "exactly the RVA22S64 profile", RVA22 },
    { "max", "everything that is implemented", MAX },
};

const char *const riscv_cpu_names[] = { "rv64", "rva22s64", "max", NULL };

static uint64_t *ext_find(RiscvState *s, const char *name, uint64_t *bits)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++) {
        if (!g_ascii_strcasecmp(name, ext_rows[i].name)) {
            *bits = BIT(ext_rows[i].ext);
            return &s->exts;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bundles); i++) {
        if (!g_ascii_strcasecmp(name, bundles[i].name)) {
            *bits = bundles[i].exts;
            return &s->exts;
        }
    }
    /* What QEMU has, or had, as experimental. */
    return !g_ascii_strncasecmp(name, "x-", 2) ? ext_find(s, name + 2, bits) : NULL;
}

static Err *unknown_property(const char *name)
{
    const char *names[G_N_ELEMENTS(ext_rows) + G_N_ELEMENTS(bundles) + 1];
    int n = 0;
    for (int i = 0; not_yet[i]; i++)
        if (!g_ascii_strcasecmp(name, not_yet[i]))
            return err_hint(err(ERR_UNSUPPORTED, "extension '%s' is not available yet", name),
                            "Leave it out, or say %s=off.", name);
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++)
        names[n++] = ext_rows[i].name;
    for (unsigned i = 0; i < G_N_ELEMENTS(bundles); i++)
        names[n++] = bundles[i].name;
    names[n] = NULL;
    const char *near = nearest_name(name, names);
    Err *e = err(ERR_NOT_FOUND, "no property '%s'", name);
    return near ? err_hint(e, "Did you mean '%s'? -cpu help lists all of them.", near)
                : err_hint(e, "-cpu help lists all of them.");
}

static bool is_not_yet(const char *name)
{
    for (int i = 0; not_yet[i]; i++)
        if (!g_ascii_strcasecmp(name, not_yet[i]))
            return true;
    return false;
}

/* What a -cpu list says. */
typedef struct Asked { RiscvState *s; uint64_t on, off; } Asked;

static Err *apply_property(void *opaque, const char *key, const char *value)
{
    Asked *asked = opaque;
    RiscvState *s = asked->s;
    uint64_t bits;
    bool on = !strcmp(value, "on") || !strcmp(value, "true") || !strcmp(value, "yes");
    bool off = !strcmp(value, "off") || !strcmp(value, "false") || !strcmp(value, "no");
    if (off && is_not_yet(key))
        return NULL;
    if (!ext_find(s, key, &bits))
        return unknown_property(key);
    if (!on && !off)
        return err_hint(err(ERR_INVALID, "%s=%s is neither on nor off", key, value), "Say %s=on or %s=off.", key, key);
    s->exts = on ? s->exts | bits : s->exts & ~bits;
    asked->on = on ? asked->on | bits : asked->on & ~bits;
    asked->off = on ? asked->off & ~bits : asked->off | bits;
    return NULL;
}

static const char *ext_name(int ext)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++)
        if ((int)ext_rows[i].ext == ext)
            return ext_rows[i].name;
    return "?";
}

/* Each extension stands on others. What was only on by default goes with them; what was asked for is an error. */
static Err *check_needs(RiscvState *s, uint64_t asked)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++) {
            const ExtRow *r = &ext_rows[i];
            if (!riscv_has(s, r->ext) || r->needs < 0 || riscv_has(s, r->needs))
                continue;
            if (asked & BIT(r->ext))
                return err_hint(err(ERR_INVALID, "extension '%s' needs '%s', which is off", r->name, ext_name(r->needs)),
                                "Switch both on or both off.");
            s->exts &= ~BIT(r->ext);
            again = true;
        }
    }
    if (!riscv_has(s, RV_I))
        return err_hint(err(ERR_UNSUPPORTED, "extension 'i' cannot be off"), "There is no RV64E: leave i=off out.");
    return NULL;
}

Err *riscv_cpu_configure(RiscvState *s, const char *cpu, const char *text)
{
    int m = -1;
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (!g_ascii_strcasecmp(cpu, models[i].name))
            m = i;
    if (m < 0) {
        const char *near = nearest_name(cpu, riscv_cpu_names);
        return err_hint(err(ERR_NOT_FOUND, "no CPU model '%s'", cpu), "%s%s%s-cpu help lists them.",
                        near ? "Did you mean '" : "", near ? near : "", near ? "'? " : "");
    }
    s->exts = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++)
        s->exts |= ext_rows[i].models & models[m].model ? BIT(ext_rows[i].ext) : 0;
    Asked asked = { s, 0, 0 };
    if (text && *text) {
        Opts *o;
        TRY(opts_parse(text, NULL, NULL, &o));
        Err *e = opts_each(o, apply_property, &asked);
        opts_free(o);
        TRY(e);
    }
    s->exts_off = asked.off;
    return check_needs(s, asked.on);
}

Err *riscv_cpu_force(Vcpu *v, RvExt ext)
{
    RiscvState *s = v->state;

    if (s->exts_off & BIT(ext))
        return err_hint(err(ERR_INVALID, "it needs '%s', and -cpu has %s=off", ext_name(ext), ext_name(ext)),
                        "Leave %s=off out, or choose -M virt,aia=aplic or aia=none.", ext_name(ext));
    s->exts |= BIT(ext);
    return NULL;
}

char *riscv_cpu_help(void)
{
    GString *out = g_string_new("CPU models:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(out, "  %-12s %s\n", models[i].name, models[i].doc);
    g_string_append(out, "\nProperties, each NAME=on|off; in brackets the models that have it on:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++) {
        const ExtRow *r = &ext_rows[i];
        g_string_append_printf(out, "  %-12s %s [", r->name, r->doc);
        const char *sep = "";
        for (unsigned k = 0; k < G_N_ELEMENTS(models); k++) {
            if (r->models & models[k].model) {
                g_string_append_printf(out, "%s%s", sep, models[k].name);
                sep = " ";
            }
        }
        g_string_append(out, "]\n");
    }
    g_string_append(out, "  g, zkn, x-aia stand for several of them\n");
    return g_string_free(out, FALSE);
}

Err *riscv_cpu_props(const char *cpu, const char *opts, void (*fn)(void *opaque, const char *name, bool on), void *opaque)
{
    g_autofree RiscvState *s = g_new0(RiscvState, 1);

    TRY(riscv_cpu_configure(s, cpu, opts));
    for (unsigned i = 0; fn && i < G_N_ELEMENTS(ext_rows); i++)
        fn(opaque, ext_rows[i].name, riscv_has(s, ext_rows[i].ext));
    return NULL;
}

uint64_t riscv_misa(const RiscvState *s)
{
    uint64_t v = 2ull << 62;
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++)
        if (!ext_rows[i].name[1] && riscv_has(s, ext_rows[i].ext))
            v |= BIT(ext_rows[i].name[0] - 'a');
    return v;
}

char *riscv_isa_string(const RiscvState *s)
{
    GString *out = g_string_new("rv64");
    for (unsigned i = 0; i < G_N_ELEMENTS(ext_rows); i++) {
        const ExtRow *r = &ext_rows[i];
        if (!r->in_isa || !riscv_has(s, r->ext))
            continue;
        g_string_append_printf(out, "%s%s", r->name[1] ? "_" : "", r->name);
    }
    return g_string_free(out, FALSE);
}

const char *riscv_mmu_type(const RiscvState *s)
{
    return riscv_has(s, RV_SV57) ? "riscv,sv57" : riscv_has(s, RV_SV48) ? "riscv,sv48" :
           riscv_has(s, RV_SV39) ? "riscv,sv39" : "riscv,none";
}
