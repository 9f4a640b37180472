/* SPDX-License-Identifier: MIT */
/* Whose version of QMP's commands and events this is, and our own name behind it. */
#ifndef MONITOR_VERSION_H
#define MONITOR_VERSION_H

#include <jansson.h>

/* Clients ask for at least some version of QEMU's; what is here is what that one has. */
#define QMP_MAJOR 8
#define QMP_MINOR 2
#define QMP_MICRO 0

/* VersionInfo; new reference. */
static inline json_t *version_json(void)
{
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", QMP_MICRO, "minor", QMP_MINOR, "major", QMP_MAJOR, "package",
                     "lyre " LYRE_VERSION);
}

#endif
