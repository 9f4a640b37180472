/* SPDX-License-Identifier: MIT */
/*
 * Options with a syntax of their own: -machine, -cpu, -smp, -m, -accel, -rtc,
 * -name, -uuid.
 */
#include "cmd/options.h"

#include <string.h>

#include "util/opts.h"
#include "util/str.h"

enum { MAX_CPUS = 4096 };       /* beyond any board; each board has its own limit below */

bool asks_help(const char *arg)
{
    size_t n = strlen(arg);

    return !strcmp(arg, "help") || !strcmp(arg, "?") || g_str_has_suffix(arg, ",help") ||
           (n > 1 && !strcmp(arg + n - 2, ",?"));
}

Err *ask_help(EmuConfig *c, HelpOn what, const char *arg)
{
    c->help = what;
    g_free(c->help_arg);
    c->help_arg = g_strdup(arg);
    return NULL;
}

static void put(char **where, const char *text)
{
    char *old = *where;

    *where = g_strdup(text);
    g_free(old);
}

/* ---- -machine ----------------------------------------------------------------- */

/* Adds ",key=value" to the options that the board will look at. */
static void add_pair(char **list, const char *key, const char *value)
{
    char **parts = g_strsplit(value, ",", -1);
    char *quoted = g_strjoinv(",,", parts);
    char *all = *list && **list ? g_strdup_printf("%s,%s=%s", *list, key, quoted)
                                : g_strdup_printf("%s=%s", key, quoted);

    g_strfreev(parts);
    g_free(quoted);
    g_free(*list);
    *list = all;
}

static Err *machine_pair(void *opaque, const char *key, const char *value)
{
    EmuConfig *c = opaque;

    if (!strcmp(key, "type"))
        put(&c->vm.machine, value);
    else if (!strcmp(key, "accel"))
        put(&c->vm.accel, value);
    else if (!strcmp(key, "dumpdtb"))
        put(&c->vm.dumpdtb, value);
    else
        add_pair(&c->vm.machine_opts, key, value);
    return NULL;
}

Err *set_machine(EmuConfig *c, const char *arg)
{
    Opts *o;

    if (asks_help(arg))
        return ask_help(c, HELP_MACHINE, arg);
    TRY(opts_parse(arg, NULL, "type", &o));
    Err *e = opts_each(o, machine_pair, c);
    opts_free(o);
    return e;
}

/* ---- -cpu ------------------------------------------------------------------------ */

Err *set_cpu(EmuConfig *c, const char *arg)
{
    char *model, *rest;

    if (asks_help(arg))
        return ask_help(c, HELP_CPU, arg);
    rest = opts_rest(arg, &model);
    put(&c->vm.cpu, model);
    put(&c->vm.cpu_opts, *rest ? rest : NULL);
    g_free(model);
    g_free(rest);
    return NULL;
}

/* ---- -smp -------------------------------------------------------------------------- */

static const char *const levels[] = {
    "drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads"
};

/* The product of the levels that are given; how many are. */
static Err *topology(const Opts *o, uint64_t *cpus, int *given)
{
    *cpus = 1;
    *given = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(levels); i++) {
        uint64_t n = opts_num(o, levels[i], 1);

        if (!n)
            return err(ERR_INVALID, "%s=0 makes no sense", levels[i]);
        if (n > MAX_CPUS || *cpus * n > MAX_CPUS)
            return err(ERR_INVALID, "at most %d CPUs", MAX_CPUS);
        *given += opts_has(o, levels[i]);
        *cpus *= n;
    }
    return NULL;
}

/* A level that is not given takes what the others leave. */
static Err *check_topology(const Opts *o, uint64_t product, int given, uint64_t maxcpus)
{
    bool all = opts_has(o, "sockets") && opts_has(o, "cores") && opts_has(o, "threads");

    if (!given || product == maxcpus || (!all && maxcpus % product == 0))
        return NULL;
    return err_hint(err(ERR_INVALID, "sockets, cores, threads etc. make %d CPUs, not %d",
                        (int)product, (int)maxcpus),
                    "Their product has to be the number of CPUs.");
}

static Err *use_smp(EmuConfig *c, const Opts *o)
{
    uint64_t product, cpus, maxcpus;
    int given;

    TRY(topology(o, &product, &given));
    cpus = opts_num(o, "cpus", opts_num(o, "maxcpus", product));
    maxcpus = opts_num(o, "maxcpus", cpus);
    if (!cpus)
        return err(ERR_INVALID, "a machine has at least one CPU");
    if (cpus > MAX_CPUS || maxcpus > MAX_CPUS)
        return err(ERR_INVALID, "at most %d CPUs", MAX_CPUS);
    if (cpus > maxcpus)
        return err(ERR_INVALID, "cpus=%d is more than maxcpus=%d", (int)cpus, (int)maxcpus);
    if (cpus < maxcpus)
        return err_hint(err(ERR_UNSUPPORTED, "CPUs cannot be added to a running machine yet"),
                        "Leave maxcpus away.");
    TRY(check_topology(o, product, given, maxcpus));
    c->vm.smp = cpus;
    c->vm.maxcpus = maxcpus;
    return NULL;
}

Err *set_smp(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = {
        { "cpus",     OPT_NUM, "number of CPUs" },
        { "maxcpus",  OPT_NUM, "the same" },
        { "drawers",  OPT_NUM }, { "books",    OPT_NUM },
        { "sockets",  OPT_NUM }, { "dies",     OPT_NUM },
        { "clusters", OPT_NUM }, { "modules",  OPT_NUM },
        { "cores",    OPT_NUM }, { "threads",  OPT_NUM },
        { 0 }
    };
    Opts *o;

    TRY(opts_parse(arg, descs, "cpus", &o));
    Err *e = use_smp(c, o);
    opts_free(o);
    return e;
}

/* ---- -m ---------------------------------------------------------------------------- */

Err *set_memory(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = {
        { "size",   OPT_MIB, "of the RAM; MiB without a suffix" },
        { "slots",  OPT_NUM, "not available" },
        { "maxmem", OPT_MIB, "not available" },
        { 0 }
    };
    Err *e = NULL;
    Opts *o;

    TRY(opts_parse(arg, descs, "size", &o));
    uint64_t size = opts_num(o, "size", c->vm.ram_size);
    if (opts_num(o, "slots", 0) || opts_num(o, "maxmem", size) != size)
        e = err_hint(err(ERR_UNSUPPORTED, "memory cannot be added to a running machine yet"),
                     "Leave slots and maxmem away.");
    else if (opts_has(o, "size") && size < 1 << 20)
        e = err_hint(err(ERR_INVALID, "a machine has at least 1 MiB of memory"),
                     "A number without a suffix counts MiB: -m 512, -m 4G.");
    else if (size > UINT64_MAX - 4095)
        e = err(ERR_INVALID, "that is too much");
    else
        c->vm.ram_size = (size + 4095) & ~4095ULL;
    opts_free(o);
    return e;
}

/* ---- -accel -------------------------------------------------------------------------- */

static const char *const engines[] = { "jit", "interp", "lockstep", NULL };     /* enum Engine */
static const char *const threads[] = { "multi", "single", NULL };

static const OptDesc accel_descs[] = {
    { "accel",             OPT_STR,  "tcg" },
    { "engine",            OPT_ENUM, "how guest code is run", engines },
    { "tb-size",           OPT_MIB,  "size of the code cache" },
    { "one-insn-per-tb",   OPT_BOOL, "translate each instruction alone" },
    { "thread",            OPT_ENUM, "multi: a thread for each CPU", threads },
    { "split-wx",          OPT_BOOL, "code is never writable where it runs (always so)" },
    { 0 }
};

static Err *use_accel(EmuConfig *c, const Opts *o)
{
    const char *name = opts_str(o, "accel", NULL);

    if (opts_enum(o, "thread", 0) == 1)
        return err_hint(err(ERR_UNSUPPORTED, "thread=single is not available"),
                        "Each CPU has a thread of its own; -smp 1 makes only one.");
    if (name) {
        /* A second -accel is what to take if the first cannot be had. */
        char *both = c->vm.accel ? g_strdup_printf("%s:%s", c->vm.accel, name) : g_strdup(name);

        g_free(c->vm.accel);
        c->vm.accel = both;
    }
    c->vm.engine = opts_enum(o, "engine", c->vm.engine);
    c->vm.tb_size = opts_num(o, "tb-size", c->vm.tb_size);
    c->vm.one_insn = opts_bool(o, "one-insn-per-tb", c->vm.one_insn);
    return NULL;
}

Err *set_accel(EmuConfig *c, const char *arg)
{
    Opts *o;

    if (asks_help(arg))
        return ask_help(c, HELP_ACCEL, arg);
    TRY(opts_parse(arg, accel_descs, "accel", &o));
    Err *e = use_accel(c, o);
    opts_free(o);
    return e;
}

/* ---- -rtc, -name, -uuid ----------------------------------------------------------------- */

Err *set_rtc(EmuConfig *c, const char *arg)
{
    static const char *const clocks[] = { "host", "rt", "vm", NULL };
    static const char *const drift[] = { "none", "slew", NULL };
    static const OptDesc descs[] = {
        { "base",     OPT_STR,  "utc, localtime or 2026-12-31T23:59:59" },
        { "clock",    OPT_ENUM, "what drives it", clocks },
        { "driftfix", OPT_ENUM, "without effect", drift },
        { 0 }
    };
    Opts *o;

    TRY(opts_parse(arg, descs, NULL, &o));
    if (opts_has(o, "base"))
        put(&c->vm.rtc_base, opts_str(o, "base", NULL));
    if (opts_has(o, "clock"))
        put(&c->vm.rtc_clock, opts_str(o, "clock", NULL));
    opts_free(o);
    return NULL;
}

Err *set_name(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = {
        { "guest",         OPT_STR,  "the machine's name" },
        { "process",       OPT_STR,  "without effect" },
        { "debug-threads", OPT_BOOL, "without effect: threads always have names" },
        { 0 }
    };
    Opts *o;

    TRY(opts_parse(arg, descs, "guest", &o));
    if (opts_has(o, "guest"))
        put(&c->vm.name, opts_str(o, "guest", NULL));
    opts_free(o);
    return NULL;
}

Err *set_uuid(EmuConfig *c, const char *arg)
{
    if (!g_uuid_string_is_valid(arg))
        return err_hint(err(ERR_INVALID, "'%s' is no UUID", arg),
                        "It looks like 1b4e28ba-2fa1-11d2-883f-0016d3cca427.");
    put(&c->vm.uuid, arg);
    return NULL;
}
