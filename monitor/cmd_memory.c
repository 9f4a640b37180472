/* SPDX-License-Identifier: MIT */
/* Memory into files; what memory the machine has. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "hw/core/board.h"
#include "monitor/memory.h"
#include "monitor/monitor-priv.h"
#include "system/vmconfig.h"

static Err *copy_out(Vm *vm, Vcpu *v, uint64_t addr, uint64_t size, int fd)
{
    enum { STEP = 64 << 10 };
    g_autofree uint8_t *buf = g_malloc(STEP);

    for (uint64_t off = 0; off < size; off += STEP) {
        uint64_t n = MIN(size - off, (uint64_t)STEP);

        if (memory_read(vm, v, addr + off, buf, n, false) < n)
            return err(ERR_INVALID, "Invalid addr 0x%016" PRIx64 "/size %" PRIu64 " specified", addr, size);
        for (uint64_t done = 0; done < n;) {
            ssize_t got = write(fd, buf + done, n - done);

            if (got < 0 && errno != EINTR)
                return err_errno(errno, "writing failed");
            done += got > 0 ? (uint64_t)got : 0;
        }
    }
    return NULL;
}

static Err *save(Vm *vm, Vcpu *v, int64_t addr, int64_t size, const char *path)
{
    if (size < 0)
        return err(ERR_INVALID, "Invalid parameter 'size'");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(errno, "Could not open '%s'", path);
    Err *e = copy_out(vm, v, (uint64_t)addr, (uint64_t)size, fd);
    close(fd);
    return e;
}

Err *qmp_memsave(Monitor *m, const MemsaveArgs *args, json_t **ret)
{
    if (args->cpu_index < 0 || args->cpu_index >= m->vm->nvcpus)
        return err(ERR_INVALID, "Parameter 'cpu-index' expects a CPU number");
    return save(m->vm, m->vm->vcpus[args->cpu_index], args->val, args->size, args->filename);
}

Err *hmp_memsave(Monitor *m, const HmpMemsaveArgs *args, GString *out)
{
    Vcpu *v = NULL;

    TRY(monitor_vcpu(m, &v));
    return save(m->vm, v, args->val, args->size, args->filename);
}

Err *qmp_pmemsave(Monitor *m, const PmemsaveArgs *args, json_t **ret)
{
    return save(m->vm, NULL, args->val, args->size, args->filename);
}

/* ---- the device tree */

static void find_tree(void *opaque, const char *name, uint64_t addr, uint64_t len)
{
    if (!strcmp(name, IMAGE_DEVICE_TREE))
        *(uint64_t *)opaque = len;
}

Err *qmp_dumpdtb(Monitor *m, const DumpdtbArgs *args, json_t **ret)
{
    const Machine *machine = machine_of(m->vm);
    const void *tree = machine ? image_bytes(&machine->images, IMAGE_DEVICE_TREE) : NULL;
    g_autoptr(GError) why = NULL;
    uint64_t len = 0;

    if (!tree)
        return err(ERR_UNSUPPORTED, "This machine doesn't have a FDT");
    images_each(&machine->images, find_tree, &len);
    if (!g_file_set_contents(args->filename, tree, (gssize)len, &why))
        return err(ERR_IO, "Error saving FDT to file %s: %s", args->filename, why->message);
    return NULL;
}

/* ---- what there is */

Err *qmp_query_memdev(Monitor *m, const QueryMemdevArgs *args, json_t **ret)
{
    const Machine *machine = machine_of(m->vm);

    *ret = json_array();
    for (const RamBlock *b = m->vm->rams; b && machine && machine->board->ram_name; b = b->next) {
        bool main = machine->memory_backend ? !strcmp(b->name, machine->memory_backend) : !strcmp(b->name, machine->board->ram_name);

        if (main)
            json_array_append_new(*ret, json_pack("{s:s, s:I, s:b, s:b, s:b, s:b, s:b, s:[], s:s}", "id", b->name, "size",
                                                  (json_int_t)b->size, "merge", b->mergeable, "dump", b->in_core_dumps, "prealloc", 0,
                                                  "share", 0, "reserve", 1, "host-nodes", "policy", "default"));
    }
    return NULL;
}

Err *qmp_query_memory_devices(Monitor *m, const QueryMemoryDevicesArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}
