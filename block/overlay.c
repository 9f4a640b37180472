/* SPDX-License-Identifier: MIT */
/*
 * snapshot=on: an image of no name takes all writes, and what is below stays
 * as it is. The file is deleted as soon as it is open, so that it goes with the
 * process, however that ends.
 */
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/block.h"

/* As other tools: where files may be large and need not outlive much. */
static const char *folder(void)
{
    const char *said = getenv("TMPDIR");

    if (said && *said)
        return said;
    return access("/var/tmp", W_OK) ? g_get_tmp_dir() : "/var/tmp";
}

static Err *make_image(BlockGraph *g, const char *path, uint64_t size)
{
    const CreateRequest r = { .filename = path, .format = "qcow2", .size = size };

    return image_create(g, &r, NULL);
}

Err *overlay_options(BlockGraph *g, json_t *below, char **path, json_t **out)
{
    g_autofree char *name = g_build_filename(folder(), "lyre-XXXXXX", NULL);
    Disk *d;

    *out = NULL;
    *path = NULL;
    TRY(disk_open(g, below, 0, "snapshot=on", &d));
    uint64_t size = disk_size(d);
    disk_free(d);
    int fd = g_mkstemp(name);
    if (fd < 0)
        return err_hint(err_errno(errno, "cannot make a temporary file in '%s'", folder()),
                        "The environment's TMPDIR says where else.");
    close(fd);
    Err *e = make_image(g, name, size);
    if (e) {
        unlink(name);
        return e;
    }
    *out = json_pack("{s:s, s:{s:b}, s:s, s:{s:s, s:s}, s:O}", "driver", "qcow2", "cache", "no-flush", true,
                     "discard", "unmap", "file", "driver", "file", "filename", name, "backing", below);
    *path = g_steal_pointer(&name);
    return NULL;
}
