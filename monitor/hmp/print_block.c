/* SPDX-License-Identifier: MIT */
/* info block, info blockstats: disks, nodes and their images, as people read them; from what the queries answer. */
#include <string.h>

#include "monitor/hmp/members.h"
#include "monitor/monitor-priv.h"

static void add_size(GString *out, const char *what, json_int_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double v = (double)bytes;
    unsigned u = 0;

    for (; v >= 1000 && u < G_N_ELEMENTS(units) - 1; u++)
        v /= 1024;
    g_string_append_printf(out, "%s: %.3g %s", what, v, units[u]);
}

static void add_specific(GString *out, const json_t *data)
{
    const char *key;
    json_t *v;

    if (data)
        g_string_append(out, "Format specific information:\n");
    json_object_foreach((json_t *)data, key, v) {
        char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        g_string_append_printf(out, "    %s: %s\n", name, text ? text : str(data, key));
        free(text);
    }
}

static void add_image(GString *out, const json_t *image)
{
    g_string_append_printf(out, "image: %s\nfile format: %s\n", str(image, "filename"), str(image, "format"));
    add_size(out, "virtual size", num(image, "virtual-size"));
    g_string_append_printf(out, " (%" JSON_INTEGER_FORMAT " bytes)\n", num(image, "virtual-size"));
    if (json_object_get(image, "actual-size")) {
        add_size(out, "disk size", num(image, "actual-size"));
        g_string_append_c(out, '\n');
    }
    if (is(image, "encrypted"))
        g_string_append(out, "encrypted: yes\n");
    if (json_object_get(image, "cluster-size"))
        g_string_append_printf(out, "cluster_size: %" JSON_INTEGER_FORMAT "\n", num(image, "cluster-size"));
    if (json_object_get(image, "backing-filename"))
        g_string_append_printf(out, "backing file: %s\n", str(image, "backing-filename"));
    add_specific(out, json_object_get(json_object_get(image, "format-specific"), "data"));
}

static void add_limits(GString *out, const json_t *in)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max", "bps_wr_max", "iops", "iops_rd", "iops_wr",
                                         "iops_max", "iops_rd_max", "iops_wr_max", "iops_size" };

    if (!json_object_get(in, "group"))
        return;
    g_string_append(out, "    I/O throttling:  ");
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        g_string_append_printf(out, " %s=%" JSON_INTEGER_FORMAT, names[i], num(in, names[i]));
    g_string_append_printf(out, " group=%s\n", str(in, "group"));
}

/* b: the disk it is in; NULL: a node. */
static void add_inserted(GString *out, const json_t *b, const json_t *in, bool verbose)
{
    const json_t *cache = json_object_get(in, "cache");

    g_string_append_printf(out, ": %s (%s%s%s)\n", str(in, "file"), str(in, "drv"), is(in, "ro") ? ", read-only" : "",
                           is(in, "encrypted") ? ", encrypted" : "");
    if (b && json_object_get(b, "qdev"))
        g_string_append_printf(out, "    Attached to:      %s\n", str(b, "qdev"));
    if (b && is(b, "removable"))
        g_string_append_printf(out, "    Removable device: %slocked, tray %s\n", is(b, "locked") ? "" : "not ",
                               is(b, "tray_open") ? "open" : "closed");
    if (b && json_object_get(b, "io-status") && g_strcmp0(str(b, "io-status"), "ok"))
        g_string_append_printf(out, "    I/O status:       %s\n", str(b, "io-status"));
    g_string_append_printf(out, "    Cache mode:       %s%s%s\n", is(cache, "writeback") ? "writeback" : "writethrough",
                           is(cache, "direct") ? ", direct" : "", is(cache, "no-flush") ? ", ignore flushes" : "");
    if (json_object_get(in, "backing_file"))
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %d)\n", str(in, "backing_file"), (int)num(in, "backing_file_depth"));
    if (g_strcmp0(str(in, "detect_zeroes"), "off"))
        g_string_append_printf(out, "    Detect zeroes:    %s\n", str(in, "detect_zeroes"));
    add_limits(out, in);
    if (!verbose)
        return;
    g_string_append(out, "\nImages:\n");
    for (const json_t *i = json_object_get(in, "image"); i; i = json_object_get(i, "backing-image")) {
        add_image(out, i);
        if (json_object_get(i, "backing-image"))
            g_string_append_c(out, '\n');
    }
}

/* What it is called: its drive, else its node, else its device. */
static void add_disk(GString *out, const json_t *b, bool verbose)
{
    const json_t *in = json_object_get(b, "inserted");
    const char *drive = str(b, "device"), *node = str(in, "node-name");

    g_string_append(out, *drive ? drive : *node ? node : str(b, "qdev"));
    if (in) {
        if (*drive && *node)
            g_string_append_printf(out, " (%s)", node);
        add_inserted(out, b, in, verbose);
        return;
    }
    g_string_append(out, ": [not inserted]\n");
    if (json_object_get(b, "qdev"))
        g_string_append_printf(out, "    Attached to:      %s\n", str(b, "qdev"));
    if (is(b, "removable"))
        g_string_append_printf(out, "    Removable device: %slocked, tray %s\n", is(b, "locked") ? "" : "not ",
                               is(b, "tray_open") ? "open" : "closed");
}

static bool is_named(const json_t *b, const char *name)
{
    return !name || !strcmp(str(b, "device"), name) || !strcmp(str(b, "qdev"), name);
}

static void add_nodes(Monitor *m, const char *name, bool verbose, GString *out)
{
    const QueryNamedBlockNodesArgs all = { 0 };
    json_t *list = NULL, *n;
    bool first = true;
    size_t i;

    err_free(qmp_query_named_block_nodes(m, &all, &list));
    json_array_foreach(list, i, n) {
        if (name && strcmp(str(n, "node-name"), name))
            continue;
        g_string_append_printf(out, "%s%s", first ? "" : "\n", str(n, "node-name"));
        add_inserted(out, NULL, n, verbose);
        first = false;
    }
    json_decref(list);
}

Err *hmp_info_block(Monitor *m, const HmpInfoBlockArgs *args, GString *out)
{
    const QueryBlockArgs all = { 0 };
    json_t *list = NULL, *b;
    gsize was = out->len;
    size_t i;

    if (!args->nodes) {
        TRY(qmp_query_block(m, &all, &list));
        json_array_foreach(list, i, b) {
            if (!is_named(b, args->device))
                continue;
            if (out->len > was)
                g_string_append_c(out, '\n');
            add_disk(out, b, args->verbose);
        }
        json_decref(list);
    }
    if (args->nodes || (args->device && out->len == was))
        add_nodes(m, args->device, args->verbose, out);
    return NULL;
}

Err *hmp_info_named_block_nodes(Monitor *m, const HmpInfoNamedBlockNodesArgs *args, GString *out)
{
    add_nodes(m, NULL, false, out);
    return NULL;
}

void print_blockstats(GString *out, const json_t *v)
{
    static const char *const names[] = {
        "rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations", "wr_total_time_ns", "rd_total_time_ns",
        "flush_total_time_ns", "rd_merged", "wr_merged", "idle_time_ns",
    };
    const json_t *b;
    size_t i;

    json_array_foreach((json_t *)v, i, b) {
        const char *drive = str(b, "device"), *node = str(b, "node-name");

        g_string_append_printf(out, "%s:", *drive ? drive : *node ? node : str(b, "qdev"));
        for (size_t k = 0; k < G_N_ELEMENTS(names); k++)
            g_string_append_printf(out, " %s=%" JSON_INTEGER_FORMAT, names[k], num(json_object_get(b, "stats"), names[k]));
        g_string_append_c(out, '\n');
    }
}
