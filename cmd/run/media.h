/* SPDX-License-Identifier: MIT */
/*
 * What a file that somebody wants to run is: a disk, an installer's ISO, a
 * kernel; of which guest; and how it boots. Read, never guessed by name.
 */
#ifndef CMD_RUN_MEDIA_H
#define CMD_RUN_MEDIA_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "util/err.h"

typedef enum MediaKind { MEDIA_DISK, MEDIA_ISO, MEDIA_KERNEL } MediaKind;

typedef struct Media {
    MediaKind kind;
    char format[16];            /* of an image: "raw", "qcow2"; empty for a kernel */
    const char *isa;            /* "riscv64", "aarch64", "x86_64"; NULL: nothing tells */
    const char *why;            /* what told the ISA: "it has EFI/BOOT/BOOTRISCV64.EFI" */
    bool efi;                   /* an EFI boot loader is on it */
    bool bootable;              /* a partition table, or a boot sector: firmware may find something */
    uint64_t size;              /* bytes that the guest sees */
} Media;

/* Opens `path` read-only (also while another program writes it), looks, closes. */
MUST_USE Err *media_look(const char *path, Media *out);

/* ---- its parts: bytes of a guest's disk; coroutine functions */

typedef struct MediaReader { Disk *disk; uint64_t size; } MediaReader;
bool media_read(const MediaReader *r, uint64_t off, void *buf, uint64_t len);    /* false: beyond the end, or an error */

/* The ISA for which `name` ("BOOTRISCV64.EFI", any case) is the default boot loader, or NULL. UEFI 2.10, 3.5.1.1. */
const char *efi_loader_isa(const char *name);
/* Calls each(opaque, name) for what is in EFI/BOOT of a FAT file system at [off, off + len), or of an ISO 9660 one. */
void fat_list_boot(const MediaReader *r, uint64_t off, uint64_t len, void (*each)(void *opaque, const char *name), void *opaque);
void iso_list_boot(const MediaReader *r, void (*each)(void *opaque, const char *name), void *opaque);

#endif
