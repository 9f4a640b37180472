/* SPDX-License-Identifier: MIT */
/*
 * Locks of image files: open file description locks (fcntl(2), F_OFD_SETLK) on
 * single bytes, the same ones that QEMU takes, so that each refuses what the
 * other is using.
 *
 * For permission number i that is held, byte 100 + i is locked; for one that is
 * not shared, byte 200 + i. All locks are read locks, which never refuse each
 * other; a conflict is found by asking whether a write lock would be refused:
 * on 200 + i by who holds i, on 100 + i by who does not share it. Both lock
 * first and ask then, so of two that come at once at least one sees the other.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HELD = 100, UNSHARED = 200,
    N_PERMS = 4,
    SEARCH_TIME = 300000000,        /* ns: so long we look for who holds a lock */
};

static const char *const perm_names[N_PERMS] = { "consistent read", "write", "write unchanged", "resize" };

static int lock_byte(int fd, int byte, int type)
{
    struct flock l = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

/* Would a write lock be refused? That is: does another description hold the byte. */
static bool is_held(int fd, int byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

int fnode_can_lock(int fd)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HELD, .l_len = 1 };

    return fcntl(fd, F_OFD_GETLK, &l) ? -errno : 0;
}

/* ---- who holds a lock */

/* Is there a line of /proc/PID/fdinfo/FD that speaks of a lock on the byte? */
static bool holds(const char *fdinfo, int byte)
{
    for (const char *at = fdinfo; (at = strstr(at, "OFDLCK")); at++) {
        const char *colon = strchr(at, ':');
        long long first, last;
        char end[24];
        int n;

        /* "OFDLCK  ADVISORY  READ -1 fe:00:123 100 101"; the end may be EOF */
        if (!colon || sscanf(colon + 1, "%*x:%*u %lld %23s%n", &first, end, &n) != 2)
            continue;
        last = !strcmp(end, "EOF") ? G_MAXINT64 : g_ascii_strtoll(end, NULL, 10);
        if (first <= byte && byte <= last)
            return true;
    }
    return false;
}

static bool process_holds(const char *pid, const struct stat *file, int own_fd, int byte)
{
    g_autofree char *folder = g_strdup_printf("/proc/%s/fdinfo", pid);
    GDir *d = g_dir_open(folder, 0, NULL);
    bool mine = atoi(pid) == getpid(), found = false;

    for (const char *fd; d && !found && (fd = g_dir_read_name(d)); ) {
        g_autofree char *info = g_build_filename(folder, fd, NULL), *text = NULL;
        g_autofree char *link = g_strdup_printf("/proc/%s/fd/%s", pid, fd);
        struct stat st;

        if (mine && atoi(fd) == own_fd)
            continue;
        found = g_file_get_contents(info, &text, NULL, NULL) && holds(text, byte) &&
                !stat(link, &st) && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
    }
    if (d)
        g_dir_close(d);
    return found;
}

/* "process 12 (qemu-nbd)", or NULL: the host does not show whose it is. g_free it. */
static char *holder(int fd, int byte)
{
    int64_t until = loop_now() + SEARCH_TIME;
    GDir *d = g_dir_open("/proc", 0, NULL);
    char *who = NULL;
    struct stat file;

    if (fstat(fd, &file))
        memset(&file, 0, sizeof(file));
    for (const char *pid; d && !who && loop_now() < until && (pid = g_dir_read_name(d)); ) {
        g_autofree char *comm = NULL, *path = g_strdup_printf("/proc/%s/comm", pid);

        if (!g_ascii_isdigit(*pid) || !process_holds(pid, &file, fd, byte))
            continue;
        if (atoi(pid) == getpid())
            who = g_strdup("this process itself");
        else if (g_file_get_contents(path, &comm, NULL, NULL))
            who = g_strdup_printf("process %s (%s)", pid, g_strstrip(comm));
        else
            who = g_strdup_printf("process %s", pid);
    }
    if (d)
        g_dir_close(d);
    return who;
}

bool file_in_use(BlockNode *n, char **who)
{
    File *f = (File *)n;

    if (who)
        *who = NULL;
    if (n->drv->take_perm != fnode_take_perm || f->device || !is_held(f->fd, HELD + 1))
        return false;
    if (who)
        *who = holder(f->fd, HELD + 1);
    return true;
}

/* ---- taking and giving back */

static Err *conflict(const File *f, int perm, bool shared)
{
    g_autofree char *who = holder(f->fd, (shared ? HELD : UNSHARED) + perm);
    g_autofree char *what = who ? g_strdup_printf(shared ? ": %s has it" : ": %s keeps others from it", who)
                                : g_strdup("");
    Err *e = err(ERR_BUSY, "Failed to get %s\"%s\" lock%s", shared ? "shared " : "", perm_names[perm], what);

    e = err_hint(e, "Is another process using the image [%s]?", f->path);
    return perm == 1 && shared ? err_hint(e, "force-share=on (-U) reads it meanwhile, as far as it makes sense.") : e;
}

/* Does what we want meet what others have? */
static Err *check(const File *f, unsigned perm, unsigned unshared)
{
    for (int i = 0; i < N_PERMS; i++) {
        if (perm >> i & 1 && is_held(f->fd, UNSHARED + i))
            return conflict(f, i, false);
        if (unshared >> i & 1 && is_held(f->fd, HELD + i))
            return conflict(f, i, true);
    }
    return NULL;
}

/* Makes the bytes of one kind from `was` to `want`. */
static int set_bytes(int fd, int base, unsigned was, unsigned want)
{
    for (int i = 0; i < N_PERMS; i++) {
        bool is = was >> i & 1, shall = want >> i & 1;
        int ret = is == shall ? 0 : lock_byte(fd, base + i, shall ? F_RDLCK : F_UNLCK);

        if (ret)
            return ret;
    }
    return 0;
}

static int set_locks(int fd, unsigned perm, unsigned unshared, unsigned new_perm, unsigned new_unshared)
{
    int ret = set_bytes(fd, HELD, perm, new_perm);

    return ret ? ret : set_bytes(fd, UNSHARED, unshared, new_unshared);
}

Err *fnode_take_locks(File *f, unsigned perm, unsigned shared)
{
    unsigned unshared = ~shared & PERM_ALL, both = f->perm | perm, both_un = f->unshared | unshared;
    Err *e = NULL;

    if (!f->locks)
        return NULL;

    int ret = set_locks(f->fd, f->perm, f->unshared, both, both_un);

    if (ret)
        e = err_hint(err_errno(-ret, "cannot lock '%s'", f->path), "locking=off goes without");
    else if (perm & ~f->perm || unshared & ~f->unshared)
        e = check(f, perm, unshared);
    if (e) {
        set_locks(f->fd, both, both_un, f->perm, f->unshared);
        return e;
    }
    set_locks(f->fd, both, both_un, perm, unshared);
    f->perm = perm;
    f->unshared = unshared;
    return NULL;
}

int fnode_copy_locks(const File *f, int fd)
{
    return f->locks ? set_locks(fd, 0, 0, f->perm, f->unshared) : 0;
}
