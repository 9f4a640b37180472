/* SPDX-License-Identifier: MIT */
/*
 * The machine "none": no memory, no CPU, no device. Management starts it to ask
 * what the program can do.
 */
#include "hw/core/board.h"

static Err *none_make(Machine *m)
{
    return NULL;
}

static const Field none_fields[] = { {0} };

BOARD(none) = {
    .name = "none", .doc = "empty machine, to ask the program what it can do", .max_cpus = 1, .no_cpus = true,
    .size = sizeof(Machine), .fields = none_fields, .make = none_make,
};
