/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: xattrwalk reads one, or the list of names, into the fid;
 * xattrcreate takes a value that is set at the clunk. The guest has user.* and
 * the two POSIX ACLs; with a mapped model these are user.virtfs.system.*, and
 * the rest of user.virtfs.* is the emulator's own.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "hw/9p/p9-priv.h"

#define OWN "user.virtfs."
#define ACL "system.posix_acl_"

enum { VALUE_MOST = 65536 };

/* The host's name of it; -errno when it is not the guest's. */
static int host_name(const P9Server *s, const char *name, char out[static P9_NAME_MOST + 32])
{
    bool acl = !strcmp(name, ACL "access") || !strcmp(name, ACL "default");

    if (strlen(name) > P9_NAME_MOST)
        return -ERANGE;
    if (!acl && !g_str_has_prefix(name, "user."))
        return -EOPNOTSUPP;
    if (g_str_has_prefix(name, OWN))
        return -EACCES;
    g_snprintf(out, P9_NAME_MOST + 32, "%s%s", acl && mapped(s) ? OWN : "", name);
    return 0;
}

/* Rewrites the host's list in place; its new length. */
static size_t guest_names(const P9Server *s, char *list, size_t len)
{
    size_t to = 0;

    for (size_t from = 0, n; from < len; from += n) {
        const char *name = list + from;
        n = strnlen(name, len - from) + 1;
        size_t keep = n, skip = 0;

        if (from + n > len)
            break;
        if (g_str_has_prefix(name, OWN)) {
            skip = strlen(OWN);
            if (!mapped(s) || !g_str_has_prefix(name + skip, ACL))
                keep = 0;
        } else if (!g_str_has_prefix(name, "user.") && (mapped(s) || !g_str_has_prefix(name, ACL))) {
            keep = 0;
        }
        if (keep) {
            memmove(list + to, name + skip, keep - skip);
            to += keep - skip;
        }
    }
    return to;
}

static int read_into(P9Server *s, P9At at, const char *name, uint8_t **value)
{
    char path[64 + 256], host[P9_NAME_MOST + 32];
    int e = *name ? host_name(s, name, host) : 0;

    if (e)
        return e;
    p9_proc_path(at, path);
    char *buf = g_malloc(VALUE_MOST);
    ssize_t n = *name ? (*at.name ? lgetxattr(path, host, buf, VALUE_MOST) : getxattr(path, host, buf, VALUE_MOST))
                      : (*at.name ? llistxattr(path, buf, VALUE_MOST) : listxattr(path, buf, VALUE_MOST));
    if (n < 0) {
        e = -errno;
        g_free(buf);
        return e;
    }
    if (!*name)
        n = guest_names(s, buf, n);
    *value = g_realloc(buf, n + 1);
    return n;
}

static int find_at(P9Server *s, P9In *in, P9Fid **f, P9At *at)
{
    *f = p9_fid_find(s, p9_in_u32(in));
    if (!*f || (*f)->kind == FID_XATTR_READ || (*f)->kind == FID_XATTR_WRITE)
        return -EBADF;
    if ((*f)->fd >= 0) {
        *at = (P9At){ (*f)->fd, "" };
        return 0;
    }
    return p9_node_at(s, (*f)->node, at);
}

int p9_t_xattrwalk(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f, *to;
    P9At at;
    uint8_t *value = NULL;
    int e = find_at(s, in, &f, &at);
    uint32_t id = p9_in_u32(in);
    const char *name = p9_in_str(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (p9_fid_find(s, id))
        return -EBADF;
    int n = read_into(s, at, name, &value);
    if (n < 0)
        return n;
    e = p9_fid_new(s, id, p9_node_ref(f->node), f->uid, &to);
    if (e) {
        g_free(value);
        return e;
    }
    to->kind = FID_XATTR_READ;
    to->value = value;
    to->len = n;
    p9_out_u64(out, n);
    return 0;
}

int p9_t_xattrcreate(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    char host[P9_NAME_MOST + 32];
    P9Fid *f;
    P9At at;
    int e = find_at(s, in, &f, &at);
    const char *name = p9_in_str(in);
    uint64_t size = p9_in_u64(in);
    uint32_t flags = p9_in_u32(in);

    e = e ? e : in->bad ? -EINVAL : host_name(s, name, host);
    if (e)
        return e;
    if (f->kind != FID_PATH || f->refs > 1)
        return -EBADF;
    if (size > VALUE_MOST || flags > 2)
        return size > VALUE_MOST ? -E2BIG : -EINVAL;
    f->kind = FID_XATTR_WRITE;
    f->value = g_malloc0(size + 1);
    f->len = size;
    f->done = 0;
    f->xattr = g_strdup(host);
    f->flags = flags;
    return 0;
}

int p9_xattr_commit(P9Server *s, P9Fid *f)
{
    char path[64 + 256];
    P9At at;
    int r, e = p9_node_at(s, f->node, &at);

    if (e)
        return e;
    if (f->done != f->len)
        return -EINVAL;
    p9_proc_path(at, path);
    if (!f->len && !f->flags)   /* that is how one is removed */
        r = *at.name ? lremovexattr(path, f->xattr) : removexattr(path, f->xattr);
    else
        r = *at.name ? lsetxattr(path, f->xattr, f->value, f->len, f->flags)
                     : setxattr(path, f->xattr, f->value, f->len, f->flags);
    return r < 0 ? -errno : 0;
}
