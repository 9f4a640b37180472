/* SPDX-License-Identifier: MIT */
/* Members of answers, for those who print them: what is missing is "", 0, false. */
#ifndef MONITOR_HMP_MEMBERS_H
#define MONITOR_HMP_MEMBERS_H

#include <jansson.h>
#include <stdbool.h>

static inline const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static inline json_int_t num(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static inline bool is(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

#endif
