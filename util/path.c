/* SPDX-License-Identifier: MIT */
/*
 * Errors about files: see util/path.h. What is looked at here may have changed
 * since the call failed; a hint is all that depends on it.
 */
#include "util/path.h"

#include "util/fdset.h"

#include <errno.h>
#include <glib.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAMES = 1000 };      /* of a folder that are looked through */

/* The file in `folder` whose name is nearest to `name`; NULL: none. g_free it. */
static char *nearest_file(const char *folder, const char *name)
{
    GDir *d = g_dir_open(folder, 0, NULL);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (const char *n; d && names->len < MAX_NAMES && (n = g_dir_read_name(d)) != NULL;)
        g_ptr_array_add(names, g_strdup(n));
    g_ptr_array_add(names, NULL);
    char *near = g_strdup(nearest_name(name, (const char *const *)names->pdata));
    g_ptr_array_free(names, TRUE);
    if (d)
        g_dir_close(d);
    return near;
}

/* The innermost folder of the path that is not there, or NULL if all are. g_free it. */
static char *missing_folder(const char *path)
{
    char *folder = g_path_get_dirname(path), *missing = NULL;

    while (!g_file_test(folder, G_FILE_TEST_EXISTS)) {
        char *up = g_path_get_dirname(folder);

        g_free(missing);
        missing = folder;
        folder = up;
    }
    g_free(folder);
    return missing;
}

static Err *hint_absent(Err *e, const char *path)
{
    g_autofree char *missing = missing_folder(path);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *here = g_get_current_dir();

    if (missing && g_path_is_absolute(path))
        return err_hint(e, "There is no folder '%s'.", missing);
    if (missing)
        return err_hint(e, "There is no folder '%s' in the current folder, '%s'.", missing, here);
    g_autofree char *near = nearest_file(folder, name);
    if (near)
        return err_hint(e, "In that folder there is '%s'; was it meant?", near);
    if (!g_path_is_absolute(path))
        return err_hint(e, "The current folder is '%s'.", here);
    return err_hint(e, "The folder '%s' is there, the file is not.", folder);
}

static Err *hint_refused(Err *e, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_hint(e, "'ls -ld' of it and of the folders above it shows who may use it.");
    const struct passwd *owner = getpwuid(st.st_uid);
    g_autofree char *number = g_strdup_printf("%u", (unsigned)st.st_uid);
    return err_hint(e, "Its owner is %s and its mode is %03o; this program runs as user %u. 'chmod' changes the mode.",
                    owner ? owner->pw_name : number, (unsigned)st.st_mode & 0777, (unsigned)geteuid());
}

/* EPERM: not its mode is in the way. */
static Err *hint_forbidden(Err *e, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)))
        return err_hint(e, "A rule of the host forbids this device, whatever its mode: a container's, or libvirt's "
                        "(cgroup_device_acl in qemu.conf).");
    return err_hint(e, "It may be immutable ('lsattr' shows that, 'chattr -i' ends it), or a sandbox forbids it.");
}

Err *err_path(int errnum, const char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    Err *e = err_errno(errnum, "%s", what);
    g_free(what);
    if (fdset_is_name(path))
        return err_hint(e, errnum == EACCES ? "No descriptor in that set was opened for this way of access." :
                        "-add-fd and the command add-fd put descriptors into sets; query-fdsets lists them.");
    switch (errnum) {
    case ENOENT: return *path ? hint_absent(e, path) : err_hint(e, "The path is empty.");
    case EACCES: return hint_refused(e, path);
    case EPERM: return hint_forbidden(e, path);
    case EISDIR: return err_hint(e, "It is a folder; give the path of a file.");
    case ENOTDIR: return err_hint(e, "Something in the middle of the path is a file, not a folder.");
    case EROFS: return err_hint(e, "The file system is mounted read-only; choose another folder.");
    case ENOSPC: return err_hint(e, "Make room there, or choose another folder.");
    default: return e;
    }
}
