/* SPDX-License-Identifier: MIT */
/*
 * Protection of images that others depend on, from being overwritten, cut or
 * changed under them. What is looked at: the images that this process has open
 * (a chain that is read from), and the headers of the qcow2 files in the same
 * folder, which name their backing file and data file. What other processes
 * have open the locks protect, in block/.
 *
 * The look into the folder is bounded: so many files, so many bytes of each.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/driver.h"

enum {
    MAX_FILES = 4096,       /* of a folder that are looked at */
    HEAD = 4096,            /* bytes of a file that are read at once */
    MAX_NAME = 1023,        /* of a backing file: the qcow2 specification's limit */
};

typedef struct Target {
    const char *path;
    struct stat st;
} Target;

static bool same_file(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
        return a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_target(const Target *t, const char *path)
{
    struct stat st;

    return path && !stat(path, &st) && same_file(&t->st, &st);
}

/* ---- what is open here -------------------------------------------------------------- */

static bool is_host_file(const BlockNode *n)
{
    return n->drv->kind == DRIVER_PROTOCOL && n->filename && *n->filename;
}

static Err *check_open_nodes(Img *im, const Target *t, const char *what)
{
    for (BlockNode *n = graph_next(im->graph, NULL); n; n = graph_next(im->graph, n)) {
        if (!is_host_file(n) || !is_target(t, n->filename))
            continue;
        Err *e = err(ERR_BUSY, "'%s' is one of the files that are read here: %s it would destroy both",
                     t->path, what);
        return err_hint(e, "Choose another name for the output. --force does it all the same.");
    }
    return NULL;
}

/* Is that file open here? A command that has an overlay open knows what it does with it. */
static bool is_open_here(Img *im, const struct stat *st)
{
    struct stat other;

    for (BlockNode *n = graph_next(im->graph, NULL); n; n = graph_next(im->graph, n)) {
        if (is_host_file(n) && !stat(n->filename, &other) && same_file(st, &other))
            return true;
    }
    return false;
}

/* ---- who names it ------------------------------------------------------------------- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

/* Does a tree of options name the target's file anywhere? */
static bool tree_names(const Target *t, const char *overlay, const json_t *v)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)v, key, value) {
        if (json_is_object(value) && tree_names(t, overlay, value))
            return true;
        if (strcmp(key, "filename") || !json_is_string(value))
            continue;
        g_autofree char *path = img_backing_path(overlay, json_string_value(value));
        if (is_target(t, path))
            return true;
    }
    return false;
}

static bool name_means(const Target *t, const char *overlay, const char *name)
{
    json_t *tree;

    if (!g_str_has_prefix(name, "json:")) {
        g_autofree char *path = img_backing_path(overlay, g_str_has_prefix(name, "file:") ? name + 5 : name);
        return is_target(t, path);
    }
    Err *e = options_from_name(name, NULL, &tree);
    if (e) {
        err_free(e);
        return false;
    }
    bool yes = tree_names(t, overlay, tree);
    json_decref(tree);
    return yes;
}

/* A string of the header: in the bytes that were read, or read now. g_free it. */
static char *header_string(int fd, const uint8_t *head, size_t have, uint64_t off, uint32_t len)
{
    if (!off || !len || len > MAX_NAME || off > (uint64_t)INT64_MAX - len)
        return NULL;
    if (off + len <= have)
        return g_strndup((const char *)head + off, len);
    char *s = g_malloc0(len + 1);
    if (pread(fd, s, len, off) == (ssize_t)len)
        return s;
    g_free(s);
    return NULL;
}

/* The external data file's name: header extension 0x44415441 of a version 3 header. */
static char *data_file_name(const uint8_t *head, size_t have)
{
    if (have < 104 || be32(head + 4) < 3)
        return NULL;
    uint64_t at = be32(head + 100);
    while (at + 8 <= have) {
        uint32_t type = be32(head + at), len = be32(head + at + 4);
        if (!type || len > have || at + 8 + len > have)
            return NULL;
        if (type == 0x44415441)
            return g_strndup((const char *)head + at + 8, len);
        at += 8 + ((uint64_t)len + 7) / 8 * 8;
    }
    return NULL;
}

typedef enum Need { NEED_NONE, NEED_BACKING, NEED_DATA } Need;

/* Does the file `path` need the target? */
static Need file_needs(Img *im, const Target *t, const char *path)
{
    uint8_t head[HEAD];
    struct stat st;
    Need need = NEED_NONE;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return NEED_NONE;
    ssize_t have = -1;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !same_file(&st, &t->st))
        have = pread(fd, head, sizeof(head), 0);
    if (have >= 72 && be32(head) == 0x514649fb) {       /* "QFI\xfb" */
        g_autofree char *backing = header_string(fd, head, have, be64(head + 8), be32(head + 16));
        g_autofree char *data = data_file_name(head, have);
        if (backing && name_means(t, path, backing))
            need = NEED_BACKING;
        else if (data && name_means(t, path, data))
            need = NEED_DATA;
    }
    close(fd);
    return need && is_open_here(im, &st) ? NEED_NONE : need;
}

static Err *needed(const Target *t, const char *what, const char *by, Need need)
{
    Err *e = err(ERR_BUSY, "'%s' is the %s file of '%s', which %s would make unreadable garbage", t->path,
                 need == NEED_DATA ? "data" : "backing", by, what);

    return err_hint(e, "Take another file, or give '%s' another backing file first (rebase). "
                       "--force does it all the same.", by);
}

static Err *check_folder(Img *im, const Target *t, const char *what)
{
    g_autofree char *folder = g_path_get_dirname(t->path);
    DIR *d = opendir(folder);
    struct dirent *entry;
    Err *e = NULL;

    for (unsigned n = 0; d && !e && n < MAX_FILES && (entry = readdir(d)) != NULL; n++) {
        bool maybe = entry->d_type == DT_REG || entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN;
        if (entry->d_name[0] == '.' || !maybe)
            continue;
        g_autofree char *path = strcmp(folder, ".") ? g_build_filename(folder, entry->d_name, NULL)
                                                    : g_strdup(entry->d_name);
        Need need = file_needs(im, t, path);
        if (need)
            e = needed(t, what, path, need);
    }
    if (d)
        closedir(d);
    return e;
}

Err *guard(Img *im, const char *path, const char *what)
{
    Target t = { .path = g_str_has_prefix(path, "file:") ? path + 5 : path };

    if (im->a.force || stat(t.path, &t.st) || !(S_ISREG(t.st.st_mode) || S_ISBLK(t.st.st_mode)))
        return NULL;
    TRY(check_open_nodes(im, &t, what));
    return S_ISREG(t.st.st_mode) ? check_folder(im, &t, what) : NULL;
}

Err *guard_node(Img *im, BlockNode *n, const char *what)
{
    BlockNode *s = node_storage(node_skip_filters(n));
    struct stat st;

    if (im->a.force || !s || !is_host_file(s) || stat(s->filename, &st) || !S_ISREG(st.st_mode))
        return NULL;
    return check_folder(im, &(Target){ s->filename, st }, what);
}
