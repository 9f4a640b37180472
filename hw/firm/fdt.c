/* SPDX-License-Identifier: MIT */
/*
 * Device trees over libfdt, with a buffer that grows.
 */
#include "hw/firm/fdt.h"

#include <glib.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { START_SIZE = 16 * 1024, MAX_SIZE = 16 << 20 };

#define HOW_TO_GET_ONE "'dtc -O dtb' makes one from its text; -M NAME,dumpdtb=FILE writes the machine's own."

/* After a call that gave r: has the buffer grown, so that the call is to be made again? */
static bool again(Fdt *f, int r)
{
    if (r >= 0)
        return false;
    if (r != -FDT_ERR_NOSPACE || f->size >= MAX_SIZE) {
        f->error = r;
        return false;
    }
    /* A tree that is being written is moved by another function than a finished one. */
    void *more = g_malloc(f->size * 2);
    f->error = fdt_magic(f->blob) == FDT_MAGIC ? fdt_open_into(f->blob, more, f->size * 2)
                                               : fdt_resize(f->blob, more, f->size * 2);
    g_free(f->blob);
    f->blob = more;
    f->size *= 2;
    return !f->error;
}

/* Makes the call until it has room. */
#define GROWING(f, call)                                \
    do {                                                \
        while (!(f)->error && again(f, call))           \
            ;                                           \
    } while (0)

void fdt_write_start(Fdt *f)
{
    *f = (Fdt){ g_malloc(START_SIZE), START_SIZE, 0 };
    f->error = fdt_create(f->blob, f->size);
    GROWING(f, fdt_finish_reservemap(f->blob));
    GROWING(f, fdt_begin_node(f->blob, ""));
}

void fdt_begin(Fdt *f, const char *fmt, ...)
{
    char name[64];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    GROWING(f, fdt_begin_node(f->blob, name));
}

void fdt_end(Fdt *f)
{
    GROWING(f, fdt_end_node(f->blob));
}

void fdt_bytes(Fdt *f, const char *name, const void *bytes, size_t len)
{
    GROWING(f, fdt_property(f->blob, name, bytes, len));
}

void fdt_flag(Fdt *f, const char *name)
{
    fdt_bytes(f, name, NULL, 0);
}

void fdt_text(Fdt *f, const char *name, const char *text)
{
    fdt_bytes(f, name, text, strlen(text) + 1);
}

void fdt_cells(Fdt *f, const char *name, const uint32_t *cells, size_t n)
{
    void *place = NULL;

    GROWING(f, fdt_property_placeholder(f->blob, name, n * 4, &place));
    for (size_t i = 0; !f->error && i < n; i++)
        fdt32_st((char *)place + i * 4, cells[i]);
}

void fdt_reg(Fdt *f, uint64_t base, uint64_t size)
{
    fdt_u32s(f, "reg", base >> 32, base, size >> 32, size);
}

static Err *failed(const Fdt *f, const char *what)
{
    return f->error ? err(ERR_INVALID, "%s: %s", what, fdt_strerror(f->error)) : NULL;
}

Err *fdt_write_finish(Fdt *f)
{
    fdt_end(f);
    GROWING(f, fdt_finish(f->blob));
    return failed(f, "the device tree cannot be written");
}

Err *fdt_open_blob(Fdt *f, const void *bytes, size_t len, size_t room)
{
    *f = (Fdt){ 0 };
    if (len < sizeof(struct fdt_header) || len > MAX_SIZE)
        return err_hint(err(ERR_INVALID, "it is no device tree: %zu bytes are too %s", len, len > MAX_SIZE ? "many" : "few"),
                        HOW_TO_GET_ONE);
    /* fdt_check_full trusts nothing; everything libfdt does later trusts what it checked. */
    int r = fdt_check_full(bytes, len);
    if (r)
        return err_hint(err(ERR_INVALID, "it is no sound device tree: %s", fdt_strerror(r)), HOW_TO_GET_ONE);
    *f = (Fdt){ g_malloc(len + room), len + room, 0 };
    f->error = fdt_open_into(bytes, f->blob, f->size);
    return failed(f, "it is no sound device tree");
}

static int set_chosen(Fdt *f, const char *name, const void *bytes, size_t len)
{
    int node = fdt_path_offset(f->blob, "/chosen");

    if (node == -FDT_ERR_NOTFOUND)
        node = fdt_add_subnode(f->blob, 0, "chosen");
    return node < 0 ? node : fdt_setprop(f->blob, node, name, bytes, len);
}

void fdt_chosen(Fdt *f, const char *name, const void *bytes, size_t len)
{
    GROWING(f, set_chosen(f, name, bytes, len));
}

void fdt_chosen_text(Fdt *f, const char *name, const char *text)
{
    fdt_chosen(f, name, text, strlen(text) + 1);
}

void fdt_chosen_u64(Fdt *f, const char *name, uint64_t val)
{
    uint64_t be = cpu_to_fdt64(val);

    fdt_chosen(f, name, &be, sizeof(be));
}

Err *fdt_patch_finish(Fdt *f)
{
    if (!f->error)
        f->error = fdt_pack(f->blob);
    return failed(f, "the device tree cannot be completed");
}

void fdt_chosen_renew(void *blob, const char *name, const void *bytes, size_t len)
{
    int node = fdt_path_offset(blob, "/chosen");

    if (node >= 0)
        (void)fdt_setprop_inplace(blob, node, name, bytes, len);
}

size_t fdt_len(const Fdt *f)
{
    return fdt_totalsize(f->blob);
}

void fdt_free(Fdt *f)
{
    g_free(f->blob);
    *f = (Fdt){ 0 };
}
