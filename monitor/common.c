/* SPDX-License-Identifier: MIT */
/* Small things that handlers share: values of properties as JSON, errors that clients know by their class. */
#include <string.h>

#include "monitor/monitor-priv.h"
#include "system/disks.h"

Err *no_device(const char *name)
{
    return err(ERR_NO_DEVICE, "Device '%s' not found", name);
}

json_t *text_json(const char *text)
{
    json_t *v = json_string(text);

    if (v)
        return v;
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_string(valid);
}

const char *field_json_type(const Field *f)
{
    return f->type == FIELD_STR || (f->names && f->type != FIELD_BOOL) ? "str" : field_type_name(f);
}

static json_t *number(const Field *f, const char *text)
{
    if (f->type == FIELD_BOOL)
        return json_boolean(!strcmp(text, "on"));
    /* JSON's integers here have 63 bits: what is larger is shown as a negative one would be. */
    return json_integer(*text == '-' ? g_ascii_strtoll(text, NULL, 10) : (json_int_t)g_ascii_strtoull(text, NULL, 10));
}

json_t *field_json(const void *obj, const Field *f)
{
    const char *at = (const char *)obj + f->offset;

    if (f->type == FIELD_CHAR)
        return json_string(((const CharPort *)at)->chr ? chardev_id(((const CharPort *)at)->chr) : "");
    if (f->type == FIELD_DISK)
        return text_json(((const DiskPort *)at)->name ? ((const DiskPort *)at)->name : "");
    g_autofree char *text = prop_print(obj, f);
    if (f->type == FIELD_STR)
        return text_json(text ? text : "");
    if (!text)
        return NULL;
    return f->names ? json_string(text) : number(f, text);
}

Err *field_text_json(const Field *f, const char *text, json_t **out)
{
    uint64_t room[2] = { 0 };
    Field alone = *f;

    *out = NULL;
    if (f->type == FIELD_STR) {
        *out = text_json(text ? text : "");
        return NULL;
    }
    if (f->bytes > sizeof(room))
        return err(ERR_UNSUPPORTED, "property '%s' is no single value", f->name);
    alone.offset = 0;
    if (text)
        TRY(prop_parse(room, &alone, text));
    *out = field_json(room, &alone);
    return NULL;
}

Err *monitor_vcpu(Monitor *m, Vcpu **out)
{
    if (!m->vm->nvcpus)
        return err(ERR_UNSUPPORTED, "No CPU available");
    *out = m->vm->vcpus[m->cpu < m->vm->nvcpus ? m->cpu : 0];
    return NULL;
}
