/* SPDX-License-Identifier: MIT */
/*
 * Command lines: a line of the input is an argument. What is understood is
 * taken further where that touches nothing outside: the CPU model, the board's
 * options, what -d and -trace choose, -device without files.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#include "cmd/config.h"
#include "util/log.h"
#include "util/trace.h"

static void try_cpu(const EmuConfig *c, Vm *vm)
{
    Vcpu v = { .vm = vm, .isa = vm->isa };
    Env *env = rig_env_new(0);

    v.env = env;
    pthread_mutex_init(&v.lock, NULL);
    env->vcpu = &v;
    Err *e = v.isa->vcpu_new(&v, c->vm.cpu ? c->vm.cpu : "rv64", c->vm.cpu_opts);
    if (!e) {
        v.isa->reset(&v);
        v.isa->vcpu_free(&v);
    }
    fuzz_error(e);
}

static void try_board(EmuConfig *c)
{
    Rig r;

    rig_init(&r);
    r.config.machine = c->vm.machine ? c->vm.machine : (char *)"virt";
    r.config.machine_opts = c->vm.machine_opts;
    r.config.devices = c->vm.devices;
    r.config.append = NULL;
    try_cpu(c, r.vm);
    fuzz_error(rig_try_board(&r));
    rig_free(&r);
}

static void try_logs(const EmuConfig *c)
{
    for (guint i = 0; i < c->log_filters->len; i++)
        fuzz_error(log_set_filter(c->log_filters->pdata[i]));
    for (guint i = 0; i < c->log_items->len; i++)
        fuzz_error(log_set_items(c->log_items->pdata[i]));
    for (guint i = 0; i < c->traces->len; i++)
        fuzz_error(trace_option(c->traces->pdata[i]));
    log_close();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_hide();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    g_auto(GStrv) args = g_strsplit(text, "\n", 200);
    GPtrArray *argv = g_ptr_array_new();
    EmuConfig *c = emu_config_new("lyre-system-riscv64", "riscv64");

    g_ptr_array_add(argv, (char *)"lyre-system-riscv64");
    for (char **a = args; *a; a++)
        g_ptr_array_add(argv, *a);
    g_ptr_array_add(argv, NULL);
    Err *e = emu_config_parse(c, argv->len - 1, (char **)argv->pdata);
    if (!e && !c->help && !fuzz_reaches_out(text)) {
        try_logs(c);
        if (!strstr(text, "file"))
            try_board(c);
        fuzz_tidy();
    }
    fuzz_error(e);
    emu_config_free(c);
    g_ptr_array_free(argv, TRUE);
    g_free(text);
    return 0;
}
