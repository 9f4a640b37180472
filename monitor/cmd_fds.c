/* SPDX-License-Identifier: MIT */
/* Descriptors that clients send along with a command (SCM_RIGHTS): by name (getfd) and in sets (add-fd). */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "monitor/monitor-priv.h"
#include "util/fdset.h"
#include "util/str.h"

void monitor_received(Monitor *m, const int *fds, int n)
{
    for (guint i = 0; m->received && i < m->received->len; i++)
        close(g_array_index(m->received, int, i));
    g_clear_pointer(&m->received, g_array_unref);
    if (n) {
        m->received = g_array_new(FALSE, FALSE, sizeof(int));
        g_array_append_vals(m->received, fds, n);
    }
}

/* A monitor that was moved hands its descriptors over with the command, others are asked for theirs. */
static Err *received(Monitor *m, int *fd)
{
    *fd = -1;
    if (m->received && m->received->len) {
        *fd = g_array_index(m->received, int, 0);
        g_array_remove_index(m->received, 0);
    } else if (!m->moved) {
        *fd = chr_take_fd(&m->port);
    }
    return *fd < 0 ? err(ERR_INVALID, "No file descriptor supplied via SCM_RIGHTS") : NULL;
}

Err *qmp_getfd(Monitor *m, const GetfdArgs *args, json_t **ret)
{
    int fd;

    TRY(received(m, &fd));
    if (g_ascii_isdigit(*args->fdname) || !*args->fdname) {
        close(fd);
        return err(ERR_INVALID, "Parameter 'fdname' expects a name not starting with a digit");
    }
    g_hash_table_replace(m->set->fds, g_strdup(args->fdname), GINT_TO_POINTER(fd));
    return NULL;
}

Err *qmp_closefd(Monitor *m, const ClosefdArgs *args, json_t **ret)
{
    if (!g_hash_table_remove(m->set->fds, args->fdname))
        return err(ERR_NOT_FOUND, "File descriptor named '%s' not found", args->fdname);
    return NULL;
}

Err *monitor_take_fd(Monitor *m, const char *name, int *fd)
{
    gpointer key, value;

    if (g_ascii_isdigit(*name)) {
        uint64_t n;

        TRY(parse_num(name, &n));
        if (n > INT_MAX || fcntl((int)n, F_GETFD) < 0)
            return err(ERR_INVALID, "there is no descriptor %s", name);
        *fd = (int)n;
        return NULL;
    }
    if (!g_hash_table_steal_extended(m->set->fds, name, &key, &value))
        return err(ERR_NOT_FOUND, "File descriptor named '%s' has not been found", name);
    g_free(key);
    *fd = GPOINTER_TO_INT(value);
    return NULL;
}

Err *monitor_named_fd(void *monitor, const char *name, int *fd)
{
    return monitor_take_fd(monitor, name, fd);
}

/* ---- sets */

Err *qmp_add_fd(Monitor *m, const AddFdArgs *args, json_t **ret)
{
    int64_t id;
    int fd;

    TRY(received(m, &fd));
    if (args->has_fdset_id && args->fdset_id < 0) {
        close(fd);
        return err(ERR_INVALID, "Parameter 'fdset-id' expects a non-negative value");
    }
    TRY(fdsets_add(m->vm->fdsets, args->has_fdset_id ? args->fdset_id : -1, fd, args->opaque, &id));
    *ret = json_pack("{s:I, s:i}", "fdset-id", (json_int_t)id, "fd", fd);
    return NULL;
}

Err *qmp_remove_fd(Monitor *m, const RemoveFdArgs *args, json_t **ret)
{
    if (args->has_fd && (args->fd < 0 || args->fd > INT_MAX))
        return err(ERR_INVALID, "Parameter 'fd' expects a descriptor");
    return fdsets_remove(m->vm->fdsets, args->fdset_id, args->has_fd ? (int)args->fd : -1);
}

static void show_fd(void *opaque, int64_t id, int fd, const char *note)
{
    json_t *list = opaque, *set = json_array_get(list, json_array_size(list) - 1);

    if (!set || json_integer_value(json_object_get(set, "fdset-id")) != id) {
        set = json_pack("{s:I, s:[]}", "fdset-id", (json_int_t)id, "fds");
        json_array_append_new(list, set);
    }
    json_t *one = json_pack("{s:i}", "fd", fd);
    if (note)
        json_object_set_new(one, "opaque", text_json(note));
    json_array_append_new(json_object_get(set, "fds"), one);
}

Err *qmp_query_fdsets(Monitor *m, const QueryFdsetsArgs *args, json_t **ret)
{
    *ret = json_array();
    fdsets_each(m->vm->fdsets, show_fd, *ret);
    return NULL;
}
