/* SPDX-License-Identifier: MIT */
/* Answers of commands, as people read them. */
#include "monitor/monitor-priv.h"

static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static json_int_t num(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static bool is(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

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

void print_cpus(GString *out, const json_t *v)
{
    const json_t *c;
    size_t i;

    json_array_foreach((json_t *)v, i, c)
        g_string_append_printf(out, "%c CPU #%d: thread_id=%d\n", i ? ' ' : '*', (int)num(c, "cpu-index"), (int)num(c, "thread-id"));
}

void print_iothreads(GString *out, const json_t *v)
{
    const json_t *c;
    size_t i;

    json_array_foreach((json_t *)v, i, c)
        g_string_append_printf(out, "%s:\n  thread_id=%d\n", str(c, "id"), (int)num(c, "thread-id"));
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
