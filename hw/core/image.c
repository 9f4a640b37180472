/* SPDX-License-Identifier: MIT */
/*
 * The memory images of a machine.
 */
#include "hw/core/image.h"

#include <inttypes.h>
#include <string.h>

typedef struct Image {
    char *name;
    uint64_t addr, len, last;       /* last: address of the last byte of its room */
    void *data;
} Image;

static void image_free(void *opaque)
{
    Image *i = opaque;

    g_free(i->name);
    g_free(i->data);
    g_free(i);
}

static Err *overlap(const Image *a, const Image *b)
{
    return err_hint(err(ERR_INVALID, "%s (%#" PRIx64 "-%#" PRIx64 ") and %s (%#" PRIx64 "-%#" PRIx64 ") overlap in memory",
                        a->name, a->addr, a->last, b->name, b->addr, b->last),
                    "A program has to be linked, or a file loaded, to where nothing else is; a larger -m may part them.");
}

Err *image_add(Images *set, const char *name, uint64_t addr, void *data, uint64_t len, uint64_t room)
{
    guint at = 0;

    if (!set->list)
        set->list = g_ptr_array_new_with_free_func(image_free);
    if (!len && !room) {
        g_free(data);
        return NULL;
    }
    room = MAX(len, room);
    if (addr + (room - 1) < addr) {
        g_free(data);
        return err(ERR_INVALID, "%s (%" PRIu64 " bytes at %#" PRIx64 ") reaches beyond the address space",
                   name, room, addr);
    }
    Image *image = g_new(Image, 1);
    *image = (Image){ g_strdup(name), addr, len, addr + (room - 1), data };
    for (guint i = 0; i < set->list->len; i++) {
        const Image *o = g_ptr_array_index(set->list, i);

        if (o->addr <= image->last && addr <= o->last) {
            Err *e = overlap(image, o);

            image_free(image);
            return e;
        }
        if (o->addr < addr)
            at = i + 1;
    }
    g_ptr_array_insert(set->list, at, image);
    return NULL;
}

/* "0x1000-0xffff rom, 0x80000000-0x87ffffff ram" */
static char *memory_there(const Flat *f)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];

        if (r->region->kind != REGION_IO)
            g_string_append_printf(s, "%s%#" PRIx64 "-%#" PRIx64 " %s", s->len ? ", " : "", r->base, r->last,
                                   r->region->name);
    }
    return g_string_free(s, false);
}

static Err *no_place(const Image *image, const Flat *f, const char *there, uint64_t at)
{
    g_autofree char *memory = memory_there(f);

    return err_hint(err(ERR_INVALID, "%s (%#" PRIx64 "-%#" PRIx64 ") does not fit into memory: there is %s at %#" PRIx64,
                        image->name, image->addr, image->last, there, at), "There is memory at %s.", memory);
}

static Err *check(const Image *image, const Flat *f)
{
    for (uint64_t at = image->addr;;) {
        const FlatRange *r = flat_find(f, at);

        if (!r || r->region->kind == REGION_IO)
            return no_place(image, f, r ? r->region->name : "nothing", at);
        if (r->last >= image->last)
            return NULL;
        at = r->last + 1;
    }
}

Err *images_check(const Images *set, Space *s)
{
    for (guint i = 0; set->list && i < set->list->len; i++)
        TRY(check(g_ptr_array_index(set->list, i), space_flat(s)));
    return NULL;
}

void *image_bytes(const Images *set, const char *name)
{
    for (guint i = 0; set->list && i < set->list->len; i++) {
        const Image *image = g_ptr_array_index(set->list, i);

        if (!strcmp(image->name, name))
            return image->data;
    }
    return NULL;
}

void images_load(const Images *set, Space *s)
{
    for (guint i = 0; set->list && i < set->list->len; i++) {
        const Image *image = g_ptr_array_index(set->list, i);

        /* images_check has seen that it can be done. */
        err_free(rom_write(s, image->addr, image->data, image->len));
    }
}

void images_clear(Images *set)
{
    if (set->list)
        g_ptr_array_free(set->list, true);
    set->list = NULL;
}

void images_each(const Images *set, void (*fn)(void *opaque, const char *name, uint64_t addr, uint64_t len), void *opaque)
{
    for (guint i = 0; set->list && i < set->list->len; i++) {
        const Image *image = g_ptr_array_index(set->list, i);

        fn(opaque, image->name, image->addr, image->len);
    }
}
