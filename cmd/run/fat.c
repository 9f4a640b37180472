/* SPDX-License-Identifier: MIT */
/*
 * Lists EFI/BOOT of a FAT file system: Microsoft's FAT specification 1.03, and
 * long names as it has them (section 7). Reads alone; what does not make sense
 * ends the list.
 */
#include <glib.h>
#include <string.h>

#include "cmd/run/media.h"

enum {
    MOST_CLUSTERS = 1024,       /* of a folder: more is a loop, or no system partition */
    ENTRY = 32, NAME_MAX_ = 256,
    ATTR_FOLDER = 0x10, ATTR_VOLUME = 0x08, ATTR_LONG = 0x0f,
};

typedef struct Fat {
    const MediaReader *r;
    uint64_t base, fat, root, data;     /* bytes of the disk */
    uint32_t sector, cluster, clusters, root_entries, root_cluster;
    unsigned bits;                      /* 12, 16, 32 */
} Fat;

static uint32_t le(const uint8_t *p, unsigned n)
{
    uint32_t v = 0;

    while (n--)
        v = v << 8 | p[n];
    return v;
}

static bool fat_open(Fat *f, const MediaReader *r, uint64_t off, uint64_t len)
{
    uint8_t b[512];

    if (!media_read(r, off, b, sizeof(b)) || b[510] != 0x55 || b[511] != 0xaa)
        return false;
    *f = (Fat){ .r = r, .base = off, .sector = le(b + 11, 2), .cluster = b[13], .root_entries = le(b + 17, 2) };
    uint32_t reserved = le(b + 14, 2), fats = b[16], per_fat = le(b + 22, 2) ? le(b + 22, 2) : le(b + 36, 4);
    uint64_t total = le(b + 19, 2) ? le(b + 19, 2) : le(b + 32, 4);
    if (f->sector < 512 || f->sector > 4096 || f->sector & (f->sector - 1) || !f->cluster || !fats || fats > 4 || !per_fat)
        return false;
    uint64_t root_sectors = ((uint64_t)f->root_entries * ENTRY + f->sector - 1) / f->sector;
    uint64_t before = reserved + (uint64_t)fats * per_fat + root_sectors;
    if (before >= total || total > len / f->sector)
        return false;
    f->clusters = (uint32_t)((total - before) / f->cluster);
    f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
    f->fat = off + (uint64_t)reserved * f->sector;
    f->root = f->fat + (uint64_t)fats * per_fat * f->sector;
    f->data = off + before * f->sector;
    f->cluster *= f->sector;
    f->root_cluster = f->bits == 32 ? le(b + 44, 4) : 0;
    return true;
}

/* The cluster after c; 0: it is the last. */
static uint32_t next_cluster(const Fat *f, uint32_t c)
{
    uint64_t at = f->fat + (f->bits == 12 ? (uint64_t)c + c / 2 : (uint64_t)c * (f->bits / 8));
    uint8_t b[4] = { 0 };

    if (!media_read(f->r, at, b, f->bits == 32 ? 4 : 2))
        return 0;
    uint32_t v = le(b, 4);
    if (f->bits == 12)
        v = c & 1 ? v >> 4 & 0xfff : v & 0xfff;
    v &= 0x0fffffff;
    return v >= 2 && v < f->clusters + 2 ? v : 0;
}

/* What is collected of a name while its entries go by. */
typedef struct Walk {
    char name[NAME_MAX_];
    bool is_long;
    bool (*each)(void *opaque, const char *name, bool folder, uint32_t cluster);    /* true: enough */
    void *opaque;
} Walk;

/* 13 UTF-16 units of a long name; other letters than ASCII become '?'. */
static void take_long(Walk *w, const uint8_t *e)
{
    static const uint8_t places[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    unsigned at = ((e[0] & 0x3f) - 1u) * 13;

    if (e[0] & 0x40)
        memset(w->name, 0, sizeof(w->name));
    if (at + 13 >= sizeof(w->name))
        return;
    for (unsigned i = 0; i < 13; i++) {
        uint32_t c = le(e + places[i], 2);

        w->name[at + i] = c == 0 || c == 0xffff ? 0 : c < 128 ? (char)c : '?';
    }
    w->is_long = true;
}

static void take_short(Walk *w, const uint8_t *e)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 11; i++) {
        if (i == 8 && e[8] != ' ')
            w->name[n++] = '.';
        if (e[i] != ' ')
            w->name[n++] = (char)e[i];
    }
    w->name[n] = 0;
}

/* One entry; true: the folder ends here, or it was enough. */
static bool entry(Walk *w, const uint8_t *e)
{
    if (e[0] == 0)
        return true;
    if (e[0] == 0xe5) {
        w->is_long = false;
        return false;
    }
    if ((e[11] & 0x3f) == ATTR_LONG) {
        take_long(w, e);
        return false;
    }
    if (!w->is_long)
        take_short(w, e);
    w->is_long = false;
    return !(e[11] & ATTR_VOLUME) &&
           w->each(w->opaque, w->name, e[11] & ATTR_FOLDER, le(e + 20, 2) << 16 | le(e + 26, 2));
}

static bool walk_bytes(const Fat *f, Walk *w, uint64_t at, uint32_t bytes)
{
    g_autofree uint8_t *b = g_malloc(bytes);

    if (!media_read(f->r, at, b, bytes))
        return true;
    for (uint32_t i = 0; i + ENTRY <= bytes; i += ENTRY)
        if (entry(w, b + i))
            return true;
    return false;
}

/* A folder that begins at `cluster`; 0: the root. */
static void walk(const Fat *f, Walk *w, uint32_t cluster)
{
    if (!cluster && f->bits != 32) {
        walk_bytes(f, w, f->root, f->root_entries * ENTRY);
        return;
    }
    cluster = cluster ? cluster : f->root_cluster;
    for (unsigned n = 0; n < MOST_CLUSTERS && cluster >= 2 && cluster < f->clusters + 2; n++) {
        if (walk_bytes(f, w, f->data + (uint64_t)(cluster - 2) * f->cluster, f->cluster))
            return;
        cluster = next_cluster(f, cluster);
    }
}

typedef struct Wanted { const char *name; uint32_t cluster; bool found; } Wanted;

static bool is_wanted(void *opaque, const char *name, bool folder, uint32_t cluster)
{
    Wanted *want = opaque;

    if (!folder || g_ascii_strcasecmp(name, want->name))
        return false;
    want->cluster = cluster;
    want->found = true;
    return true;
}

static bool go_down(const Fat *f, const char *name, uint32_t *cluster)
{
    Wanted want = { name, 0, false };
    Walk w = { .each = is_wanted, .opaque = &want };

    walk(f, &w, *cluster);
    *cluster = want.cluster;
    return want.found && want.cluster;
}

typedef struct Teller { void (*each)(void *opaque, const char *name); void *opaque; } Teller;

static bool tell(void *opaque, const char *name, bool folder, uint32_t cluster)
{
    Teller *t = opaque;
    (void)cluster;

    if (!folder)
        t->each(t->opaque, name);
    return false;
}

void fat_list_boot(const MediaReader *r, uint64_t off, uint64_t len, void (*each)(void *, const char *), void *opaque)
{
    Teller t = { each, opaque };
    Walk w = { .each = tell, .opaque = &t };
    uint32_t cluster = 0;
    Fat f;

    if (fat_open(&f, r, off, len) && go_down(&f, "EFI", &cluster) && go_down(&f, "BOOT", &cluster))
        walk(&f, &w, cluster);
}
