/* SPDX-License-Identifier: MIT */
/* Commands about the machine as a whole: run state, names, CPUs. */
#include <string.h>

#include "dump/dump.h"
#include "hw/core/board.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "system/disks.h"
#include "system/iothread.h"
#include "system/objects.h"
#include "system/state.h"
#include "system/vcpu.h"
#include "target/isa.h"

/* ---- run state */

static const char *const state_names[] = {
    [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_SHUTDOWN] = "shutdown",
    [RUN_DEBUG] = "debug", [RUN_INTERNAL_ERROR] = "internal-error", [RUN_WATCHDOG] = "watchdog",
    [RUN_GUEST_PANICKED] = "guest-panicked", [RUN_IO_ERROR] = "io-error",
    [RUN_FINISH_MIGRATE] = "finish-migrate", [RUN_POSTMIGRATE] = "postmigrate",
};

Err *qmp_query_status(Monitor *m, const QueryStatusArgs *args, json_t **ret)
{
    RunState s = m->vm->state;

    const char *name = migrate_awaited(m->vm) ? "inmigrate" : state_names[s];

    *ret = json_pack("{s:b, s:b, s:s}", "running", s == RUN_RUNNING, "singlestep", 0, "status", name);
    return NULL;
}

/* vm_main's loop looks at it when it was woken. */
Err *qmp_x_exit_preconfig(Monitor *m, const XExitPreconfigArgs *args, json_t **ret)
{
    if (!m->vm->early)
        return err(ERR_BUSY, "The command is permitted only before machine initialization");
    m->vm->early = false;
    return NULL;
}

Err *qmp_stop(Monitor *m, const StopArgs *args, json_t **ret)
{
    if (dump_goes_on(m->vm))
        return err(ERR_BUSY, "There is a dump in process, please wait.");
    if (migrate_awaited(m->vm))
        migrate_start_on_arrival(m->vm, false);
    if (m->vm->state == RUN_RUNNING)
        vm_stop(m->vm, RUN_PAUSED);
    return NULL;
}

Err *qmp_cont(Monitor *m, const ContArgs *args, json_t **ret)
{
    RunState s = m->vm->state;

    if (dump_goes_on(m->vm))
        return err(ERR_BUSY, "There is a dump in process, please wait.");
    if (s == RUN_SHUTDOWN || s == RUN_INTERNAL_ERROR)
        return err_hint(err(ERR_INVALID, "Resetting the Virtual Machine is required"), "system_reset does that.");
    if (s == RUN_FINISH_MIGRATE)
        return err(ERR_BUSY, "Migration is not finalized yet");
    if (migrate_awaited(m->vm)) {
        migrate_start_on_arrival(m->vm, true);
        return NULL;
    }
    if (m->vm->disks)
        TRY(disks_take_images(m->vm->disks));
    vm_start(m->vm);
    return NULL;
}

Err *qmp_system_reset(Monitor *m, const SystemResetArgs *args, json_t **ret)
{
    vm_request_by(m->vm, VM_RESET, 0, "host-qmp-system-reset");
    return NULL;
}

Err *qmp_system_powerdown(Monitor *m, const SystemPowerdownArgs *args, json_t **ret)
{
    if (m->vm->power_button)
        m->vm->power_button(m->vm);
    vm_event(m->vm, "POWERDOWN", NULL);
    machine_press_power(m->vm);
    return NULL;
}

/* ---- names */

Err *qmp_query_name(Monitor *m, const QueryNameArgs *args, json_t **ret)
{
    *ret = json_object();
    if (m->vm->config->name)
        json_object_set_new(*ret, "name", text_json(m->vm->config->name));
    return NULL;
}

Err *qmp_query_uuid(Monitor *m, const QueryUuidArgs *args, json_t **ret)
{
    const char *uuid = m->vm->config->uuid;

    *ret = json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
    return NULL;
}

Err *qmp_query_target(Monitor *m, const QueryTargetArgs *args, json_t **ret)
{
    *ret = json_pack("{s:s}", "arch", m->vm->config->isa);
    return NULL;
}

Err *qmp_query_kvm(Monitor *m, const QueryKvmArgs *args, json_t **ret)
{
    *ret = json_pack("{s:b, s:b}", "enabled", 0, "present", 0);     /* no accelerator of ours uses it */
    return NULL;
}

/* ---- machines */

static json_t *machine_json(Vm *vm, const Board *b)
{
    json_t *v = json_pack("{s:s, s:i, s:b, s:b, s:b}", "name", b->name, "cpu-max", b->max_cpus, "hotpluggable-cpus", 0,
                          "numa-mem-supported", 0, "deprecated", 0);

    if (b->alias)
        json_object_set_new(v, "alias", json_string(b->alias));
    if (vm->isa && b->isa) {
        g_autofree char *type = view_cpu_type(vm->isa, vm->isa->default_cpu);

        json_object_set_new(v, "default-cpu-type", json_string(type));
    }
    if (b->ram_name)
        json_object_set_new(v, "default-ram-id", json_string(b->ram_name));
    if (b == machine_of(vm)->board)
        json_object_set_new(v, "is-default", json_true());
    return v;
}

Err *qmp_query_machines(Monitor *m, const QueryMachinesArgs *args, json_t **ret)
{
    *ret = json_array();
    for (const Board *const *b = board_set; *b; b++) {
        if (!(*b)->isa || !strcmp((*b)->isa, m->vm->config->isa))
            json_array_append_new(*ret, machine_json(m->vm, *b));
    }
    return NULL;
}

/* ---- CPUs, threads */

Err *qmp_query_cpus_fast(Monitor *m, const QueryCpusFastArgs *args, json_t **ret)
{
    *ret = json_array();
    for (int i = 0; i < m->vm->nvcpus; i++) {
        const Vcpu *v = m->vm->vcpus[i];
        g_autofree char *path = view_cpu_path(v);

        json_array_append_new(*ret, json_pack("{s:i, s:s, s:i, s:{s:i}, s:s}", "cpu-index", v->index, "qom-path", path,
                                              "thread-id", (int)v->thread_id, "props", "core-id", v->index, "target",
                                              v->isa->name));
    }
    return NULL;
}

/* Its number, and the properties of its kind. */
static json_t *iothread_row(const VmObject *o, const IoThread *t)
{
    json_t *row = json_pack("{s:s, s:i}", "id", o->id, "thread-id", iothread_id(t));

    for (const Field *f = object_fields(o->kind); f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f), *text = object_prop(o, f);
        json_t *v;
        Err *e = field_text_json(f, text, &v);

        err_free(e);
        if (!e)
            json_object_set_new(row, name, v);
    }
    return row;
}

Err *qmp_query_iothreads(Monitor *m, const QueryIothreadsArgs *args, json_t **ret)
{
    const VmObject *o;

    *ret = json_array();
    for (unsigned i = 0; (o = object_at(m->vm, i)); i++) {
        const IoThread *t = strcmp(o->kind, "iothread") ? NULL : iothread_find(m->vm, o->id);

        if (t)
            json_array_append_new(*ret, iothread_row(o, t));
    }
    return NULL;
}
