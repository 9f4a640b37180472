/* SPDX-License-Identifier: MIT */
/* Answers of commands, as people read them. */
#include <inttypes.h>
#include <string.h>

#include "monitor/hmp/members.h"
#include "monitor/monitor-priv.h"

/* Any JSON as text; strings without quotes. */
static void add_json(GString *out, const json_t *v)
{
    char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_INDENT(4));

    g_string_append_printf(out, "%s\n", text ? text : json_is_string(v) ? json_string_value(v) : "");
    free(text);
}

void print_text(GString *out, const json_t *v)
{
    g_string_append_printf(out, "%s\n", json_string_value(v));
}

void print_version(GString *out, const json_t *v)
{
    const json_t *q = json_object_get(v, "qemu");

    g_string_append_printf(out, "%s (speaks QMP %d.%d.%d)\n", str(v, "package"), (int)num(q, "major"), (int)num(q, "minor"),
                           (int)num(q, "micro"));
}

void print_status(GString *out, const json_t *v)
{
    const char *why = str(v, "status");

    g_string_append_printf(out, "VM status: %s", is(v, "running") ? "running" : "paused");
    if (!is(v, "running") && g_strcmp0(why, "paused"))
        g_string_append_printf(out, " (%s)", why);
    g_string_append_c(out, '\n');
}

void print_name(GString *out, const json_t *v)
{
    if (json_object_get(v, "name"))
        g_string_append_printf(out, "%s\n", str(v, "name"));
}

void print_uuid(GString *out, const json_t *v)
{
    g_string_append_printf(out, "%s\n", str(v, "UUID"));
}

void print_kvm(GString *out, const json_t *v)
{
    g_string_append_printf(out, "kvm support: %s\n", is(v, "enabled") ? "enabled" : is(v, "present") ? "disabled" : "not compiled");
}

void print_iothreads(GString *out, const json_t *v)
{
    const json_t *c;
    size_t i;

    json_array_foreach((json_t *)v, i, c)
        g_string_append_printf(out, "%s:\n  thread_id=%d\n  poll-max-ns=%d\n  poll-grow=%d\n  poll-shrink=%d\n  aio-max-batch=%d\n",
                               str(c, "id"), (int)num(c, "thread-id"), (int)num(c, "poll-max-ns"), (int)num(c, "poll-grow"),
                               (int)num(c, "poll-shrink"), (int)num(c, "aio-max-batch"));
}

void print_chardev(GString *out, const json_t *v)
{
    const json_t *c;
    size_t i;

    json_array_foreach((json_t *)v, i, c)
        g_string_append_printf(out, "%s: filename=%s\n", str(c, "label"), str(c, "filename"));
}

void print_qom_list(GString *out, const json_t *v)
{
    const json_t *p;
    size_t i;

    json_array_foreach((json_t *)v, i, p)
        g_string_append_printf(out, "%s (%s)\n", str(p, "name"), str(p, "type"));
}

void print_qom_get(GString *out, const json_t *v)
{
    add_json(out, v);
}

void print_jobs(GString *out, const json_t *v)
{
    const json_t *j;
    size_t i;

    json_array_foreach((json_t *)v, i, j)
        g_string_append_printf(out, "%s: %s, %s, %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT "\n", str(j, "id"), str(j, "type"),
                               str(j, "status"), num(j, "current-progress"), num(j, "total-progress"));
}

void print_block_jobs(GString *out, const json_t *v)
{
    const json_t *j;
    size_t i;

    if (!json_array_size(v))
        g_string_append(out, "No active jobs\n");
    json_array_foreach((json_t *)v, i, j)
        g_string_append_printf(out, "Type %s, device %s: Completed %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
                               " bytes, speed limit %" JSON_INTEGER_FORMAT " bytes/s\n", str(j, "type"), str(j, "device"),
                               num(j, "offset"), num(j, "len"), num(j, "speed"));
}

void print_balloon(GString *out, const json_t *v)
{
    g_string_append_printf(out, "balloon: actual=%" JSON_INTEGER_FORMAT "\n", num(v, "actual") >> 20);
}

void print_memory(GString *out, const json_t *v)
{
    g_string_append_printf(out, "base memory: %" JSON_INTEGER_FORMAT "\nplugged memory: %" JSON_INTEGER_FORMAT "\n", num(v, "base-memory"),
                           num(v, "plugged-memory"));
}

void print_dump(GString *out, const json_t *v)
{
    g_string_append_printf(out, "Status: %s\n", str(v, "status"));
    if (!g_strcmp0(str(v, "status"), "active"))
        g_string_append_printf(out, "Finished: %.2f %%\n", num(v, "total") ? 100.0 * (double)num(v, "completed") / (double)num(v, "total") : 0.0);
}

void print_mice(GString *out, const json_t *v)
{
    if (!json_array_size(v))
        g_string_append(out, "No mouse devices connected\n");
}

void print_vnc(GString *out, const json_t *v)
{
    g_string_append(out, is(v, "enabled") ? "Server: enabled\n" : "None\n");
}

void print_dirty_rate(GString *out, const json_t *v)
{
    g_string_append_printf(out, "Status: %s\nStart Time: %" JSON_INTEGER_FORMAT " (s)\nSample Pages: %" JSON_INTEGER_FORMAT
                           " (per GB)\nPeriod: %" JSON_INTEGER_FORMAT " (sec)\nMode: %s\n", str(v, "status"), num(v, "start-time"),
                           num(v, "sample-pages"), num(v, "calc-time"), str(v, "mode"));
    if (json_object_get(v, "dirty-rate"))
        g_string_append_printf(out, "Dirty rate: %" JSON_INTEGER_FORMAT " (MB/s)\n", num(v, "dirty-rate"));
    else
        g_string_append(out, "Dirty rate: (not ready)\n");
}

void print_memdev(GString *out, const json_t *v)
{
    const json_t *d;
    size_t i;

    json_array_foreach((json_t *)v, i, d)
        g_string_append_printf(out, "memory backend: %s\n  size:  %" JSON_INTEGER_FORMAT "\n  merge: %s\n  dump: %s\n  prealloc: %s\n"
                               "  share: %s\n  policy: %s\n", str(d, "id"), num(d, "size"), is(d, "merge") ? "true" : "false",
                               is(d, "dump") ? "true" : "false", is(d, "prealloc") ? "true" : "false",
                               is(d, "share") ? "true" : "false", str(d, "policy"));
}

/* ---- PCI */

static void add_functions(GString *out, const json_t *list);

static void add_region(GString *out, const json_t *r)
{
    bool io = !strcmp(str(r, "type"), "io");
    uint64_t at = (uint64_t)num(r, "address"), size = (uint64_t)num(r, "size");

    g_string_append_printf(out, "      BAR%d: ", (int)num(r, "bar"));
    if (io)
        g_string_append_printf(out, "I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n", at, at + size - 1);
    else
        g_string_append_printf(out, "%d bit%s memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n", is(r, "mem_type_64") ? 64 : 32,
                               is(r, "prefetch") ? " prefetchable" : "", at, at + size - 1);
}

static void add_bridge(GString *out, const json_t *b)
{
    const json_t *bus = json_object_get(b, "bus");
    static const struct { const char *name, *key; } ranges[] = {
        { "IO", "io_range" }, { "memory", "memory_range" }, { "prefetchable memory", "prefetchable_range" },
    };

    g_string_append_printf(out, "      BUS %d.\n      secondary bus %d.\n      subordinate bus %d.\n", (int)num(bus, "number"),
                           (int)num(bus, "secondary"), (int)num(bus, "subordinate"));
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        const json_t *r = json_object_get(bus, ranges[i].key);

        g_string_append_printf(out, "      %s range [0x%08" PRIx64 ", 0x%08" PRIx64 "]\n", ranges[i].name, (uint64_t)num(r, "base"),
                               (uint64_t)num(r, "limit"));
    }
}

static void add_function(GString *out, const json_t *d)
{
    const json_t *class = json_object_get(d, "class_info"), *id = json_object_get(d, "id"), *r;
    const json_t *bridge = json_object_get(d, "pci_bridge");
    size_t i;

    g_string_append_printf(out, "  Bus %2d, device %3d, function %d:\n    ", (int)num(d, "bus"), (int)num(d, "slot"), (int)num(d, "function"));
    if (json_object_get(class, "desc"))
        g_string_append(out, str(class, "desc"));
    else
        g_string_append_printf(out, "Class %04x", (unsigned)num(class, "class"));
    g_string_append_printf(out, ": PCI device %04x:%04x\n", (unsigned)num(id, "vendor"), (unsigned)num(id, "device"));
    if (json_object_get(id, "subsystem"))
        g_string_append_printf(out, "      PCI subsystem %04x:%04x\n", (unsigned)num(id, "subsystem-vendor"), (unsigned)num(id, "subsystem"));
    if (json_object_get(d, "irq"))
        g_string_append_printf(out, "      IRQ %d, pin %c\n", (int)num(d, "irq"), (char)('A' + num(d, "irq_pin") - 1));
    if (bridge)
        add_bridge(out, bridge);
    json_array_foreach(json_object_get(d, "regions"), i, r)
        add_region(out, r);
    g_string_append_printf(out, "      id \"%s\"\n", str(d, "qdev_id"));
    if (bridge)
        add_functions(out, json_object_get(bridge, "devices"));
}

static void add_functions(GString *out, const json_t *list)
{
    const json_t *d;
    size_t i;

    json_array_foreach((json_t *)list, i, d)
        add_function(out, d);
}

void print_pci(GString *out, const json_t *v)
{
    const json_t *b;
    size_t i;

    json_array_foreach((json_t *)v, i, b)
        add_functions(out, json_object_get(b, "devices"));
}

/* ---- migration */

void print_migrate(GString *out, const json_t *v)
{
    static const struct { const char *name, *key, *unit; int shift; } ram[] = {
        { "transferred ram", "transferred", "kbytes", 10 }, { "remaining ram", "remaining", "kbytes", 10 }, { "total ram", "total", "kbytes", 10 },
        { "duplicate", "duplicate", "pages", 0 }, { "normal", "normal", "pages", 0 }, { "dirty sync count", "dirty-sync-count", "", 0 },
        { "page size", "page-size", "kbytes", 10 }, { "dirty pages rate", "dirty-pages-rate", "pages", 0 },
    };
    static const char *const times[] = { "total-time", "expected-downtime", "downtime", "setup-time" };
    const json_t *r = json_object_get(v, "ram");

    if (json_object_get(v, "status"))
        g_string_append_printf(out, "Migration status: %s%s%s\n", str(v, "status"), json_object_get(v, "error-desc") ? ": " : "", str(v, "error-desc"));
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++) {
        if (json_object_get(v, times[i]))
            g_string_append_printf(out, "%s: %" JSON_INTEGER_FORMAT " ms\n", times[i], num(v, times[i]));
    }
    for (size_t i = 0; r && i < G_N_ELEMENTS(ram); i++)
        g_string_append_printf(out, "%s: %" JSON_INTEGER_FORMAT " %s\n", ram[i].name, num(r, ram[i].key) >> ram[i].shift, ram[i].unit);
}

void print_migrate_parameters(GString *out, const json_t *v)
{
    const json_t *p;
    const char *key;

    json_object_foreach((json_t *)v, key, p) {
        const char *unit = strstr(key, "bandwidth") ? " bytes/second" : !strcmp(key, "downtime-limit") ? " ms" : "";

        if (json_is_integer(p))
            g_string_append_printf(out, "%s: %" JSON_INTEGER_FORMAT "%s\n", key, json_integer_value(p), unit);
        else
            g_string_append_printf(out, "%s: %s\n", key, json_is_string(p) ? json_string_value(p) : json_is_true(p) ? "on" : "off");
    }
}
