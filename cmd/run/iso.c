/* SPDX-License-Identifier: MIT */
/*
 * Lists EFI/BOOT of an ISO 9660 file system (ECMA-119, sections 8.4 and 9.1;
 * long names by Rock Ridge, IEEE P1282 section 4.1.4), and, where its boot catalogue (El Torito 1.0) has an EFI image, of that FAT.
 */
#include <glib.h>
#include <string.h>

#include "cmd/run/media.h"

enum { SECTOR = 2048, MOST_FOLDER = 1 << 20, FOLDER = 2 };

typedef struct Place { uint32_t sector, bytes; } Place;

static uint32_t le32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The long name of a record, if it has one in itself: entries of two letters, a length, a version, then their own. */
static void rock_ridge(const uint8_t *e, char name[256])
{
    for (unsigned at = 33u + e[32] + !(e[32] & 1); at + 5 <= e[0] && e[at + 2] >= 5; at += e[at + 2]) {
        unsigned len = e[at + 2] - 5u;

        if (e[at] != 'N' || e[at + 1] != 'M' || at + 5 + len > e[0] || e[at + 4])
            continue;
        memcpy(name, e + at + 5, len);
        name[len] = 0;
        return;
    }
}

/* Calls each for every record; true: it was enough. `name` is without the version (";1"). */
static bool walk(const MediaReader *r, Place folder,
                 bool (*each)(void *opaque, const char *name, bool is_folder, Place at), void *opaque)
{
    uint32_t bytes = MIN(folder.bytes, MOST_FOLDER);
    g_autofree uint8_t *b = g_malloc(bytes + 256);

    memset(b + bytes, 0, 256);
    if (!bytes || !media_read(r, (uint64_t)folder.sector * SECTOR, b, bytes))
        return false;
    for (uint32_t i = 0; i + 34 <= bytes; ) {
        const uint8_t *e = b + i;
        char name[256];

        if (!e[0]) {                            /* records do not cross sectors */
            i = (i / SECTOR + 1) * SECTOR;
            continue;
        }
        if (e[0] < 34 || 33u + e[32] > e[0])
            return false;
        memcpy(name, e + 33, e[32]);
        name[e[32]] = 0;
        name[strcspn(name, ";")] = 0;
        rock_ridge(e, name);
        if (each(opaque, name, e[25] & FOLDER, (Place){ le32(e + 2), le32(e + 10) }))
            return true;
        i += e[0];
    }
    return false;
}

typedef struct Wanted { const char *name; Place at; } Wanted;

static bool is_wanted(void *opaque, const char *name, bool is_folder, Place at)
{
    Wanted *w = opaque;

    if (!is_folder || g_ascii_strcasecmp(name, w->name))
        return false;
    w->at = at;
    return true;
}

typedef struct Teller { void (*each)(void *opaque, const char *name); void *opaque; } Teller;

static bool tell(void *opaque, const char *name, bool is_folder, Place at)
{
    Teller *t = opaque;
    (void)at;

    if (!is_folder)
        t->each(t->opaque, name);
    return false;
}

/* Entries of 32 bytes: a header says the platform (0xef: EFI), those that follow where their images are. */
static void el_torito(const MediaReader *r, uint32_t catalogue, void (*each)(void *, const char *), void *opaque)
{
    uint8_t b[SECTOR];
    bool efi = false;

    if (!media_read(r, (uint64_t)catalogue * SECTOR, b, sizeof(b)) || b[0] != 1)
        return;
    efi = b[1] == 0xef;
    for (unsigned i = 32; i < SECTOR; i += 32) {
        uint64_t at = (uint64_t)le32(b + i + 8) * SECTOR;

        if (b[i] == 0x90 || b[i] == 0x91)
            efi = b[i + 1] == 0xef;
        else if (b[i] == 0x88 && efi && at && at < r->size)
            fat_list_boot(r, at, r->size - at, each, opaque);
    }
}

void iso_list_boot(const MediaReader *r, void (*each)(void *, const char *), void *opaque)
{
    uint8_t b[SECTOR];
    Teller t = { each, opaque };
    Wanted efi = { .name = "EFI" }, boot = { .name = "BOOT" };

    for (unsigned n = 16; n < 32; n++) {        /* volume descriptors */
        if (!media_read(r, (uint64_t)n * SECTOR, b, sizeof(b)) || memcmp(b + 1, "CD001", 5) || b[0] == 255)
            break;
        if (b[0] == 0 && !memcmp(b + 7, "EL TORITO SPECIFICATION", 23))
            el_torito(r, le32(b + 71), each, opaque);
        if (b[0] == 1 && walk(r, (Place){ le32(b + 158), le32(b + 166) }, is_wanted, &efi) &&
            walk(r, efi.at, is_wanted, &boot))
            walk(r, boot.at, tell, &t);
    }
}
