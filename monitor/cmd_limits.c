/* SPDX-License-Identifier: MIT */
/* Limits of disks (block_set_io_throttle) and of throttle-group objects: block/throttle.h. */
#include <string.h>

#include "block/throttle.h"
#include "monitor/block_info.h"
#include "monitor/block_visit.h"
#include "monitor/limits.h"
#include "monitor/monitor-priv.h"

/* The names of BlockIOThrottle and of BlockDeviceInfo, by bucket. */
static const char *const rates[THROTTLE_BUCKETS] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

void block_limits_info(json_t *o, ThrottleGroup *g)
{
    ThrottleLimits l;

    throttle_group_limits(g, &l);
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        g_autofree char *max = g_strconcat(rates[i], "_max", NULL), *length = g_strconcat(max, "_length", NULL);

        json_object_set_new(o, rates[i], json_integer((json_int_t)l.b[i].avg));
        if (!l.b[i].max)
            continue;
        json_object_set_new(o, max, json_integer((json_int_t)l.b[i].max));
        json_object_set_new(o, length, json_integer(l.b[i].length));
    }
    if (l.ops_size)
        json_object_set_new(o, "iops_size", json_integer((json_int_t)l.ops_size));
    json_object_set_new(o, "group", text_json(throttle_group_name(g)));
}

static Err *read_limits(const BlockSetIoThrottleArgs *a, ThrottleLimits *l)
{
    const int64_t avg[] = { a->bps, a->bps_rd, a->bps_wr, a->iops, a->iops_rd, a->iops_wr };
    const int64_t max[] = { a->bps_max, a->bps_rd_max, a->bps_wr_max, a->iops_max, a->iops_rd_max, a->iops_wr_max };
    const int64_t length[] = { a->has_bps_max_length ? a->bps_max_length : 1, a->has_bps_rd_max_length ? a->bps_rd_max_length : 1,
                               a->has_bps_wr_max_length ? a->bps_wr_max_length : 1, a->has_iops_max_length ? a->iops_max_length : 1,
                               a->has_iops_rd_max_length ? a->iops_rd_max_length : 1, a->has_iops_wr_max_length ? a->iops_wr_max_length : 1 };

    *l = (ThrottleLimits){ .ops_size = (uint64_t)a->iops_size };
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (avg[i] < 0 || max[i] < 0 || a->iops_size < 0)
            return err(ERR_INVALID, "bps/iops/max values must be within [0, 1000000000000000]");
        if (length[i] < 0 || length[i] > UINT32_MAX)
            return err(ERR_INVALID, "burst length must be within [0, %u]", UINT32_MAX);
        l->b[i] = (ThrottleBucket){ .avg = (uint64_t)avg[i], .max = (uint64_t)max[i], .length = (uint32_t)length[i] };
    }
    return throttle_check(l->b, l->ops_size);
}

Err *qmp_block_set_io_throttle(Monitor *m, const BlockSetIoThrottleArgs *args, json_t **ret)
{
    const char *name = args->device ? args->device : args->id;
    ThrottleLimits l;

    if (!args->device == !args->id)
        return err(ERR_INVALID, "Need exactly one of 'device' and 'id'");
    DiskPort *p = block_port(m->vm, name);
    if (!p)
        return no_device(name);
    if (!p->disk)
        return err(ERR_INVALID, "Device has no medium");
    TRY(read_limits(args, &l));
    if (!throttle_limits_any(&l)) {
        disk_port_set_limits(p, NULL);
        return NULL;
    }
    bool stays = p->limits && (!args->group || !strcmp(args->group, throttle_group_name(p->limits)));
    ThrottleGroup *g = stays ? p->limits : throttle_group_get(disks_throttles(m->vm->disks), args->group ? args->group : name);
    Err *e = throttle_group_set(g, &l);
    if (!stays && !e)
        disk_port_set_limits(p, g);
    else if (!stays)
        throttle_group_put(g);
    return e;
}

/* ---- objects */

/* "limits", or an older name of one of them: "x-iops-total". */
static json_t *limits_of(Vm *vm, const char *id)
{
    ThrottleGroup *g = throttle_group_get(disks_throttles(vm->disks), id);
    ThrottleLimits l;

    throttle_group_limits(g, &l);
    throttle_group_put(g);
    return throttle_limits_json(&l);
}

json_t *limits_get(Vm *vm, const char *id, const char *property)
{
    json_t *all = limits_of(vm, id), *v;

    if (!strcmp(property, "limits"))
        return all;
    v = g_str_has_prefix(property, "x-") ? json_object_get(all, property + 2) : NULL;
    json_incref(v);
    json_decref(all);
    return v;
}

Err *limits_put(Vm *vm, const char *id, const char *property, const json_t *v)
{
    if (strcmp(property, "limits"))
        return err(ERR_UNSUPPORTED, "Property cannot be set after initialization");
    if (!json_is_object(v))
        return err(ERR_INVALID, "Invalid parameter type for 'limits', expected: object");
    json_t *props = json_pack("{s:O}", "limits", v);
    Err *e = disks_set_object(vm->disks, id, props);
    json_decref(props);
    return e;
}

void limits_list(Vm *vm, const char *id, void (*row)(json_t *, const char *, const char *), json_t *list)
{
    json_t *all = limits_of(vm, id), *v;
    const char *key;

    row(list, "limits", "ThrottleLimits");
    json_object_foreach(all, key, v) {
        g_autofree char *old = g_strconcat("x-", key, NULL);

        row(list, old, "int");
    }
    json_decref(all);
}
