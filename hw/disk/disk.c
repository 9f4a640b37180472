/* SPDX-License-Identifier: MIT */
/*
 * The properties that all disks have: what they may be, and binding the drive.
 */
#include "hw/disk/disk.h"

#include <string.h>

const char *const disk_on_off_auto[] = { "auto", "off", "on", NULL };

enum { BLOCK_MIN = 512, BLOCK_MOST = 2 << 20 };

static Err *check_size(const char *name, uint32_t *size, uint32_t def)
{
    if (!*size)
        *size = def;
    if (*size < BLOCK_MIN || *size > BLOCK_MOST || *size & (*size - 1))
        return err(ERR_INVALID, "%s=%u: it is a power of two from %d to %d", name, *size, BLOCK_MIN, BLOCK_MOST);
    return NULL;
}

static Err *check_sizes(DiskConf *c)
{
    TRY(check_size("logical_block_size", &c->logical, BLOCK_MIN));
    TRY(check_size("physical_block_size", &c->physical, c->logical));
    if (c->logical > c->physical)
        return err(ERR_INVALID, "logical_block_size %u is more than physical_block_size %u", c->logical, c->physical);
    if (c->min_io % c->logical || c->opt_io % c->logical)
        return err(ERR_INVALID, "min_io_size and opt_io_size are multiples of logical_block_size (%u)", c->logical);
    if (c->discard_granularity != DISK_GRANULARITY_AUTO && c->discard_granularity % c->logical)
        return err(ERR_INVALID, "discard_granularity is a multiple of logical_block_size (%u)", c->logical);
    return NULL;
}

Err *disk_conf_bind(Device *d, DiskConf *c, const DiskPortOps *ops, bool read_only, bool removable)
{
    DiskPort *p = &c->port;

    TRY(check_sizes(c));
    if (c->rerror == IO_ERROR_ENOSPC)
        return err(ERR_INVALID, "rerror=enospc: reading never fills a disk");
    p->share_rw = c->share_rw;
    p->werror = c->werror;
    p->rerror = c->rerror;
    TRY(disk_port_bind(d->vm, p, ops, d, read_only, removable));
    if (c->write_cache != DISK_AUTO && p->disk)
        disk_port_set_writethrough(p, c->write_cache == DISK_OFF);
    return NULL;
}

static Err *check_iothread(Vm *vm, const char *id)
{
    if (id && iothread_find(vm, id))
        return NULL;
    return err_hint(err(ERR_NOT_FOUND, "there is no I/O thread '%s'", id ? id : ""),
                    "Add -object iothread,id=%s, or leave it out: all disks have a thread already.", id ? id : "ID");
}

static Err *check_mapping(Vm *vm, const json_t *list, unsigned queues)
{
    g_autofree bool *taken = g_new0(bool, queues);
    json_t *each, *vq;
    size_t i, k;

    if (!json_is_array(list) || !json_array_size(list))
        return err_hint(err(ERR_INVALID, "iothread-vq-mapping is a list"),
                        "-device '{\"driver\":..,\"iothread-vq-mapping\":[{\"iothread\":\"ID\"}]}'");
    json_array_foreach((json_t *)list, i, each) {
        const json_t *vqs = json_object_get(each, "vqs");

        TRY(check_iothread(vm, json_string_value(json_object_get(each, "iothread"))));
        if (!vqs != !json_object_get(json_array_get(list, 0), "vqs"))
            return err(ERR_INVALID, "iothread-vq-mapping: either all its members have vqs, or none");
        json_array_foreach((json_t *)vqs, k, vq) {
            json_int_t n = json_integer_value(vq);

            if (!json_is_integer(vq) || n < 0 || n >= queues || taken[n])
                return err(ERR_INVALID, "iothread-vq-mapping: vqs are numbers from 0 to %u, each once", queues - 1);
            taken[n] = true;
        }
    }
    for (i = 0; i < queues && json_object_get(json_array_get(list, 0), "vqs"); i++) {
        if (!taken[i])
            return err(ERR_INVALID, "iothread-vq-mapping: no thread is given for queue %zu", i);
    }
    return NULL;
}

Err *disk_check_iothreads(Vm *vm, const char *iothread, const char *mapping, unsigned queues)
{
    json_error_t why;

    if (iothread && mapping)
        return err(ERR_INVALID, "iothread and iothread-vq-mapping cannot both be given");
    if (iothread)
        return check_iothread(vm, iothread);
    if (!mapping)
        return NULL;
    json_t *list = json_loads(mapping, JSON_REJECT_DUPLICATES, &why);
    Err *e = check_mapping(vm, list, queues);
    json_decref(list);
    return e;
}

/* Without vqs, the threads take the queues in turn. */
static const char *mapped(const json_t *list, unsigned n)
{
    json_t *each, *vq;
    size_t i, k;

    if (!json_object_get(json_array_get(list, 0), "vqs"))
        return json_string_value(json_object_get(json_array_get(list, n % json_array_size(list)), "iothread"));
    json_array_foreach((json_t *)list, i, each) {
        json_array_foreach(json_object_get(each, "vqs"), k, vq) {
            if (json_integer_value(vq) == n)
                return json_string_value(json_object_get(each, "iothread"));
        }
    }
    return NULL;
}

IoThread *disk_queue_thread(const DiskConf *c, const char *iothread, const char *mapping, unsigned n)
{
    json_t *list = mapping ? json_loads(mapping, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *name = list ? mapped(list, n) : iothread;
    IoThread *t = name ? iothread_find(c->port.vm, name) : NULL;

    json_decref(list);
    return t ? t : disk_port_thread(&c->port);
}

IoThread *disk_first_thread(Vm *vm, const char *iothread, const char *mapping)
{
    json_t *list = mapping ? json_loads(mapping, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *name = list ? json_string_value(json_object_get(json_array_get(list, 0), "iothread")) : iothread;
    IoThread *t = name ? iothread_find(vm, name) : NULL;

    json_decref(list);
    return t ? t : disks_thread(vm->disks);
}

Err *disk_check_serial(const char *serial, unsigned most)
{
    if (serial && strlen(serial) > most)
        return err(ERR_INVALID, "serial '%s' is longer than %u characters", serial, most);
    for (const char *s = serial; s && *s; s++) {
        if (!g_ascii_isprint(*s))
            return err(ERR_INVALID, "serial '%s' has a character that is not printable ASCII", serial);
    }
    return NULL;
}
