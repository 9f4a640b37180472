/* SPDX-License-Identifier: MIT */
/*
 * -fsdev and -virtfs. Of the drivers there is `local`; throttling of a folder
 * is refused, as are `synth` (a test's) and `proxy` (gone from QEMU).
 */
#include "hw/9p/fsdev.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/opts.h"
#include "util/path.h"

static const char *const models[] = { "passthrough", "mapped-xattr", "mapped-file", "none", "mapped", NULL };
static const char *const multidevs[] = { "remap", "forbid", "warn", NULL };
static const char *const writeouts[] = { "immediate", NULL };

static const OptDesc fsdev_opts[] = {
    { "driver",         OPT_STR,  "local" },
    { "id",             OPT_STR,  "its name, for -device virtio-9p-pci,fsdev=NAME" },
    { "path",           OPT_STR,  "the folder" },
    { "security_model", OPT_ENUM, "how owners and modes are kept", models },
    { "readonly",       OPT_BOOL, "the guest changes nothing" },
    { "fmode",          OPT_STR,  "mode of new files, octal, with a mapped model (0600)" },
    { "dmode",          OPT_STR,  "mode of new folders, octal, with a mapped model (0700)" },
    { "multidevs",      OPT_ENUM, "several file systems below the folder (remap)", multidevs },
    { "writeout",       OPT_ENUM, "immediate: write to the disk at once", writeouts },
    { "mount_tag",      OPT_STR,  "-virtfs: what the guest mounts" },
    { 0 }
};

static Err *take_mode(const Opts *o, const char *key, FsModel model, unsigned def, unsigned *out)
{
    const char *text = opts_str(o, key, NULL);
    char *end;

    *out = def;
    if (!text)
        return NULL;
    if (model != FS_MAPPED_XATTR && model != FS_MAPPED_FILE)
        return err_hint(err(ERR_INVALID, "%s is for the mapped models", key), "Add security_model=mapped-xattr.");
    *out = strtoul(text, &end, 8);
    if (!*text || *end || *out > 0777 || (*out & 0600) != 0600)
        return err_hint(err(ERR_INVALID, "%s=%s is no usable mode", key, text), "It is octal: %s=0600 to 0777.", key);
    return NULL;
}

static Err *take_path(const Opts *o, FsDev *f)
{
    const char *path = opts_str(o, "path", NULL);

    if (!path || !*path)
        return err_hint(err(ERR_INVALID, "it has no path"), "Add path=FOLDER.");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_path(errno, path, "cannot open the folder '%s'", path);
    close(fd);
    f->path = g_strdup(path);
    return NULL;
}

static Err *fill(const Opts *o, FsDev *f)
{
    int model = opts_enum(o, "security_model", -1);

    if (strcmp(opts_str(o, "driver", ""), "local"))
        return err_hint(err(ERR_UNSUPPORTED, "the driver '%s' is not available", opts_str(o, "driver", "")),
                        "Use local: -fsdev local,id=NAME,path=FOLDER,security_model=mapped-xattr");
    if (!opts_str(o, "id", NULL))
        return err_hint(err(ERR_INVALID, "it has no id"), "Add id=NAME.");
    if (model < 0)
        return err_hint(err(ERR_INVALID, "it has no security_model"),
                        "mapped-xattr keeps the guest's owners apart from the host's; none shows the host's as they are.");
    f->model = model == 4 ? FS_MAPPED_XATTR : (FsModel)model;
    f->id = g_strdup(opts_str(o, "id", NULL));
    f->readonly = opts_bool(o, "readonly", false);
    f->writeout = opts_has(o, "writeout");
    f->multidevs = opts_enum(o, "multidevs", FS_REMAP);
    TRY(take_mode(o, "fmode", f->model, 0600, &f->fmode));
    TRY(take_mode(o, "dmode", f->model, 0700, &f->dmode));
    return take_path(o, f);
}

static void fsdev_free(void *opaque)
{
    FsDev *f = opaque;

    g_free(f->id);
    g_free(f->path);
    g_free(f);
}

static FsDev *lookup(Vm *vm, const char *id)
{
    for (guint i = 0; vm->fsdevs && i < vm->fsdevs->len; i++) {
        FsDev *f = vm->fsdevs->pdata[i];

        if (!strcmp(f->id, id))
            return f;
    }
    return NULL;
}

static Err *add(Vm *vm, const char *arg)
{
    Opts *o = NULL;

    if (strstr(arg, "throttling."))
        return err_hint(err(ERR_UNSUPPORTED, "throttling of folders is not available"), "Leave throttling.* away.");
    TRY(opts_parse(arg, fsdev_opts, "driver", &o));
    FsDev *f = g_new0(FsDev, 1);
    Err *e = fill(o, f);
    if (!e && lookup(vm, f->id))
        e = err(ERR_INVALID, "the id '%s' is taken already", f->id);
    opts_free(o);
    if (e) {
        fsdev_free(f);
        return e;
    }
    if (!vm->fsdevs)
        vm->fsdevs = g_ptr_array_new_with_free_func(fsdev_free);
    g_ptr_array_add(vm->fsdevs, f);
    return NULL;
}

Err *fsdev_add(Vm *vm, const char *arg)
{
    return err_in(add(vm, arg), "-fsdev %s", arg);
}

Err *fsdev_find(Vm *vm, const char *id, FsDev **out)
{
    *out = lookup(vm, id);
    return *out ? NULL : err_hint(err(ERR_NOT_FOUND, "there is no fsdev with the id '%s'", id),
                                  "-fsdev local,id=%s,path=FOLDER,security_model=mapped-xattr makes one.", id);
}

void fsdevs_free(Vm *vm)
{
    if (vm->fsdevs)
        g_ptr_array_free(vm->fsdevs, TRUE);
    vm->fsdevs = NULL;
}

/* ---- -virtfs */

typedef struct Split { GString *fsdev; const char *tag, *id; } Split;

static Err *split_pair(void *opaque, const char *key, const char *value)
{
    Split *s = opaque;

    if (!strcmp(key, "mount_tag") || !strcmp(key, "id"))
        return NULL;
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    g_autofree char *quoted = g_strjoinv(",,", parts);
    if (!strcmp(key, "driver"))
        g_string_prepend(s->fsdev, quoted);
    else
        g_string_append_printf(s->fsdev, ",%s=%s", key, quoted);
    return NULL;
}

static Err *split(const char *arg, unsigned n, char **fsdev, char **device)
{
    Opts *o = NULL;
    Split s = { 0 };

    if (strstr(arg, "throttling."))
        return err_hint(err(ERR_UNSUPPORTED, "throttling of folders is not available"), "Leave throttling.* away.");
    TRY(opts_parse(arg, fsdev_opts, "driver", &o));
    const char *tag = opts_str(o, "mount_tag", NULL), *id = opts_str(o, "id", NULL);
    if (!tag || !*tag) {
        opts_free(o);
        return err_hint(err(ERR_INVALID, "it has no mount_tag"),
                        "Add mount_tag=NAME; the guest says: mount -t 9p -o trans=virtio NAME /mnt");
    }
    g_autofree char *name = id ? g_strdup(id) : g_strdup_printf("virtfs%u", n);
    s.fsdev = g_string_new(NULL);
    err_free(opts_each(o, split_pair, &s));
    g_string_append_printf(s.fsdev, ",id=%s", name);
    g_auto(GStrv) parts = g_strsplit(tag, ",", -1);
    g_autofree char *quoted = g_strjoinv(",,", parts);
    *device = g_strdup_printf("virtio-9p-pci,fsdev=%s,mount_tag=%s", name, quoted);
    *fsdev = g_string_free(s.fsdev, FALSE);
    opts_free(o);
    return NULL;
}

Err *virtfs_split(const char *arg, unsigned n, char **fsdev, char **device)
{
    *fsdev = *device = NULL;
    return err_in(split(arg, n, fsdev, device), "-virtfs %s", arg);
}
