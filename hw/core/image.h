/* SPDX-License-Identifier: MIT */
/*
 * Images: bytes that a reset puts into memory: firmware, kernel, initrd,
 * device tree, boot ROM. Kept as they were read, so that each reset finds
 * memory as the first one did. No two may overlap.
 */
#ifndef HW_CORE_IMAGE_H
#define HW_CORE_IMAGE_H

#include <glib.h>
#include <stdint.h>

#include "system/mem.h"
#include "util/err.h"

typedef struct Images { GPtrArray *list; } Images;     /* Image *, by address */

/*
 * Adds `len` bytes at addr; `data` is g_malloc'ed and belongs to the list from
 * now on (also when it fails). `room` >= len: memory that is the image's own
 * although nothing is loaded there (a kernel's bss); it only counts for overlaps.
 */
MUST_USE Err *image_add(Images *set, const char *name, uint64_t addr, void *data, uint64_t len, uint64_t room);
/* Is all of it memory? To be asked when the board's memory is mapped. */
MUST_USE Err *images_check(const Images *set, Space *s);
/* What boards call the one that tells the guest what there is. */
#define IMAGE_DEVICE_TREE "the device tree"

/* The bytes of the image of that name, to be changed before a reset loads them; NULL: there is none. */
void *image_bytes(const Images *set, const char *name);
/* Each image; the bytes that it has, and those of its room behind them. */
void images_each(const Images *set, void (*fn)(void *opaque, const char *name, uint64_t addr, uint64_t len), void *opaque);
void images_load(const Images *set, Space *s);
void images_clear(Images *set);

#endif
