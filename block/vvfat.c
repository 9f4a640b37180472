/* SPDX-License-Identifier: MIT */
/*
 * vvfat: a folder of the host as a disk with a FAT file system, to read
 * ("fat:DIR", "fat:floppy:DIR", "fat:12:DIR"). The tree is looked at once, when
 * it is opened; files' bytes are read when they are asked for. A hard disk has
 * one partition. Layout: Microsoft's "FAT: General Overview of On-Disk Format"
 * 1.03. Left out: writing, FAT32, symbolic links (a guest shall see the folder,
 * nothing beside it) and files of 4 GiB and more, which FAT cannot hold.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/format.h"

enum {
    SECTOR = 512, SLOT = 32, DEEP = 32, MOST_ENTRIES = 100000,
    ATTR_LABEL = 0x28, ATTR_DIR = 0x10, ATTR_LONG = 0x0f, LAST_LONG = 0x40, LONG_CHARS = 13,
};

/* A file or folder. */
typedef struct Item {
    char *name;                 /* of the host, as UTF-8 */
    char *path;                 /* from the folder on */
    uint8_t dos[11];            /* 8.3, padded by blanks */
    bool folder, needs_long;
    uint64_t size;              /* file */
    time_t changed;
    struct Item *parent;        /* NULL: the top */
    GPtrArray *inside;          /* folder: Items */
    uint8_t *bytes;             /* folder: its directory, len bytes */
    uint32_t len, cluster, clusters;    /* the first, and how many */
} Item;

typedef struct Vvfat {
    BlockNode n;
    char *dir, *label;
    uint8_t fat_type;
    bool floppy, rw;

    int fd;                     /* of the folder; -1 */
    Item *top;
    GPtrArray *placed;          /* Items with clusters, in their order; borrowed */
    unsigned items;
    unsigned bits, per_cluster, track, heads, root_slots;
    uint64_t start, total, fat_sectors, data;   /* sectors; start: of the file system; data: of cluster 2, on the disk */
    uint32_t clusters, next;    /* next: the first that is free */
    uint8_t *fat, mbr[SECTOR], boot[SECTOR];
} Vvfat;

enum { TYPE_AUTO, TYPE_12, TYPE_16, TYPE_32 };
static const char *const type_names[] = { "0", "12", "16", "32", NULL };
static const Field vvfat_fields[] = {
    PROP(Vvfat, dir, .doc = "the folder"),
    PROP(Vvfat, fat_type, .def = "0", .names = type_names, .doc = "bits of the table: 12 or 16; 0: what fits the disk"),
    PROP(Vvfat, floppy, .def = "off", .doc = "a floppy of 2.88 MB instead of a hard disk"),
    PROP(Vvfat, label, .doc = "the volume's name, up to 11 characters"),
    PROP(Vvfat, rw, .def = "off", .doc = "not supported: the folder is only read"),
    {0}
};

/* "fat:[floppy:][12:|16:|32:][rw:]DIR" */
static Err *vvfat_parse_name(const char *name, json_t *o)
{
    const char *p = strchr(name, ':') + 1;

    for (bool more = true; more;) {
        more = true;
        if (g_str_has_prefix(p, "floppy:"))
            json_object_set_new(o, "floppy", json_true());
        else if (g_str_has_prefix(p, "rw:"))
            json_object_set_new(o, "rw", json_true());
        else if (g_str_has_prefix(p, "12:") || g_str_has_prefix(p, "16:") || g_str_has_prefix(p, "32:"))
            json_object_set_new(o, "fat-type", json_integer(atoi(p)));
        else
            more = false;
        if (more)
            p = strchr(p, ':') + 1;
    }
    if (json_object_set_new(o, "dir", json_string(p)))
        return err(ERR_INVALID, "the name '%s' is not UTF-8", p);
    return NULL;
}

/* ---- the tree */

static void item_free(void *p)
{
    Item *i = p;

    if (i->inside)
        g_ptr_array_unref(i->inside);
    g_free(i->name);
    g_free(i->path);
    g_free(i->bytes);
    g_free(i);
}

static Item *item_new(Item *parent, const char *name, const struct stat *st)
{
    Item *i = g_new0(Item, 1);

    i->name = g_utf8_make_valid(name, -1);
    i->path = parent && *parent->path ? g_strdup_printf("%s/%s", parent->path, name) : g_strdup(name);
    i->folder = S_ISDIR(st->st_mode);
    i->size = i->folder ? 0 : st->st_size;
    i->changed = st->st_mtime;
    i->parent = parent;
    if (i->folder)
        i->inside = g_ptr_array_new_with_free_func(item_free);
    return i;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Item *const *)a)->name, (*(Item *const *)b)->name);
}

static Err *scan(Vvfat *s, Item *at, int fd, unsigned depth);

static Err *scan_entry(Vvfat *s, Item *at, int fd, const char *name, unsigned depth)
{
    struct stat st;
    Item *i;

    if (!strcmp(name, ".") || !strcmp(name, "..") || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return NULL;
    if (++s->items > MOST_ENTRIES || depth > DEEP)
        return err(ERR_UNSUPPORTED, "'%s' has more than %d files, or folders %d deep", s->dir, MOST_ENTRIES, DEEP);
    i = item_new(at, name, &st);
    g_ptr_array_add(at->inside, i);
    if (i->size > UINT32_MAX)
        return err(ERR_UNSUPPORTED, "'%s/%s' is larger than FAT allows (4 GiB)", s->dir, i->path);
    if (!i->folder)
        return NULL;
    int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return sub < 0 ? err_errno(errno, "cannot open the folder '%s/%s'", s->dir, i->path) : scan(s, i, sub, depth + 1);
}

/* Takes fd. */
static Err *scan(Vvfat *s, Item *at, int fd, unsigned depth)
{
    DIR *d = fdopendir(fd);
    struct dirent *e;
    Err *error = NULL;

    if (!d) {
        close(fd);
        return err_errno(ENOMEM, "cannot read the folder '%s/%s'", s->dir, at->path);
    }
    while (!error && (e = readdir(d)))
        error = scan_entry(s, at, dirfd(d), e->d_name, depth);
    closedir(d);
    g_ptr_array_sort(at->inside, by_name);
    return error;
}

/* ---- names */

/* What becomes of a name in 8.3 */
typedef enum Fit { FIT_LOST, FIT_CASE, FIT_SAME } Fit;

/* Up to n characters of `from` as FAT has them. */
static Fit dos_part(uint8_t *out, unsigned n, const char *from, size_t len)
{
    Fit fit = len <= n ? FIT_SAME : FIT_LOST;
    unsigned k = 0;

    memset(out, ' ', n);
    for (size_t i = 0; i < len && k < n; i++) {
        unsigned char c = from[i];

        if (c == ' ' || c == '.' || (c & 0xc0) == 0x80) {   /* left out; and the rest of a UTF-8 character */
            fit = FIT_LOST;
            continue;
        }
        bool good = g_ascii_isalnum(c) || strchr("!#$%&'()-@^_`{}~", c);
        out[k] = good ? g_ascii_toupper(c) : '_';
        if (out[k++] != c)
            fit = MIN(fit, good ? FIT_CASE : FIT_LOST);
    }
    return fit;
}

/* NAME~1, NAME~2, ..: the n-th instead of the plain name. */
static void add_tail(uint8_t dos[8], const uint8_t plain[8], unsigned n)
{
    g_autofree char *tail = g_strdup_printf("~%u", n);
    size_t len = strlen(tail), keep = 8 - len;

    while (keep && plain[keep - 1] == ' ')
        keep--;
    memset(dos, ' ', 8);
    memcpy(dos, plain, keep);
    memcpy(dos + keep, tail, len);
}

static void dos_name(Item *i, GHashTable *taken)
{
    const char *dot = strrchr(i->name, '.');
    size_t base = dot && dot != i->name ? (size_t)(dot - i->name) : strlen(i->name);
    const char *ext = i->name[base] ? i->name + base + 1 : "";
    uint8_t plain[8];
    Fit fit = dos_part(i->dos, 8, i->name, base), end = dos_part(i->dos + 8, 3, ext, strlen(ext));

    fit = i->dos[0] == ' ' ? FIT_LOST : MIN(fit, end);
    if (i->dos[0] == ' ')
        memcpy(i->dos, "_       ", 8);
    memcpy(plain, i->dos, 8);
    for (unsigned n = fit == FIT_LOST;; n++) {
        if (n)
            add_tail(i->dos, plain, n);
        char *key = g_strndup((char *)i->dos, 11);
        if (g_hash_table_add(taken, key)) {
            i->needs_long = n || fit != FIT_SAME;
            return;
        }
    }
}

/* The name in UTF-16; g_free it. *n: its characters, 255 at most. */
static gunichar2 *long_name(const Item *i, glong *n)
{
    gunichar2 *u = g_utf8_to_utf16(i->name, -1, NULL, n, NULL);

    *n = u ? MIN(*n, 255) : 0;
    return u;
}

static unsigned long_slots(const Item *i)
{
    glong n;

    if (!i->needs_long)
        return 0;
    g_free(long_name(i, &n));
    return div_up(n, LONG_CHARS);
}

/* ---- directories */

static void put_time(uint8_t *slot, time_t when)
{
    struct tm t;
    uint16_t day, hour;

    if (!localtime_r(&when, &t) || t.tm_year < 80 || t.tm_year > 207)
        t = (struct tm){ .tm_year = 80, .tm_mday = 1 };
    day = (t.tm_year - 80) << 9 | (t.tm_mon + 1) << 5 | t.tm_mday;
    hour = t.tm_hour << 11 | t.tm_min << 5 | MIN(t.tm_sec, 59) / 2;
    st_le16(slot + 14, hour);
    st_le16(slot + 16, day);
    st_le16(slot + 18, day);
    st_le16(slot + 22, hour);
    st_le16(slot + 24, day);
}

static void put_slot(uint8_t *slot, const void *name, const Item *i)
{
    memcpy(slot, name, 11);
    slot[11] = i && i->folder ? ATTR_DIR : 0;
    put_time(slot, i ? i->changed : 0);
    st_le16(slot + 26, i ? i->cluster : 0);
    st_le32(slot + 28, i && !i->folder ? i->size : 0);
}

/* Slots of the long name, the last part first; returns how many. */
static unsigned put_long(uint8_t *slot, const Item *i)
{
    static const uint8_t at[LONG_CHARS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    glong n;
    g_autofree gunichar2 *u = long_name(i, &n);
    unsigned slots = long_slots(i);
    uint8_t sum = 0;

    for (unsigned k = 0; k < 11; k++)
        sum = (sum >> 1 | sum << 7) + i->dos[k];
    for (unsigned k = 0; k < slots; k++) {
        uint8_t *p = slot + (slots - 1 - k) * SLOT;

        p[0] = (k + 1) | (k + 1 == slots ? LAST_LONG : 0);
        p[11] = ATTR_LONG;
        p[13] = sum;
        for (glong c = 0; c < LONG_CHARS; c++) {
            glong from = (glong)k * LONG_CHARS + c;

            st_le16(p + at[c], from < n ? u[from] : from == n ? 0 : 0xffff);
        }
    }
    return slots;
}

static void fill_folder(const Vvfat *s, Item *i)
{
    uint8_t *p = i->bytes;

    if (i->parent) {
        put_slot(p, ".          ", i);
        put_slot(p + SLOT, "..         ", i->parent->parent ? i->parent : NULL);
        p[SLOT + 11] = ATTR_DIR;
        p += 2 * SLOT;
    } else {
        g_autofree char *label = g_strdup_printf("%-11.11s", s->label ? s->label : "LYRE VVFAT");

        put_slot(p, label, NULL);
        p[11] = ATTR_LABEL;
        p += SLOT;
    }
    for (unsigned k = 0; k < i->inside->len; k++) {
        Item *c = i->inside->pdata[k];

        p += (size_t)put_long(p, c) * SLOT;
        put_slot(p, c->dos, c);
        p += SLOT;
        if (c->folder)
            fill_folder(s, c);
    }
}

/* ---- laying out */

static void set_fat(Vvfat *s, uint32_t cluster, uint32_t value)
{
    if (s->bits == 16) {
        st_le16(s->fat + cluster * 2, value);
        return;
    }
    uint8_t *p = s->fat + cluster * 3 / 2;
    unsigned both = ld_le16(p);
    st_le16(p, cluster & 1 ? (both & 0x000f) | value << 4 : (both & 0xf000) | value);
}

static Err *place(Vvfat *s, Item *i)
{
    uint32_t size = s->per_cluster * SECTOR, end = s->bits == 16 ? 0xffff : 0xfff;

    i->clusters = i->folder ? MAX(div_up(i->len, size), 1) : div_up(i->size, size);
    if (i->clusters > s->clusters + 2 - s->next)
        return err_hint(err(ERR_INVALID, "Directory does not fit in FAT%u (capacity %.2f MB)", s->bits,
                            s->total * SECTOR / 1e6), s->floppy ? "leave floppy away" : "take some files out of it");
    if (!i->clusters)
        return NULL;
    i->cluster = s->next;
    s->next += i->clusters;
    for (uint32_t c = i->cluster; c < s->next; c++)
        set_fat(s, c, c + 1 == s->next ? end : c + 1);
    g_ptr_array_add(s->placed, i);
    return NULL;
}

/* Names and sizes of a folder's directory, then places for all that is in it. */
static Err *lay_out(Vvfat *s, Item *i)
{
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    uint64_t slots = i->parent ? 2 : 1;

    for (unsigned k = 0; k < i->inside->len; k++) {
        dos_name(i->inside->pdata[k], taken);
        slots += 1 + long_slots(i->inside->pdata[k]);
    }
    if (i->parent ? slots > 65535 : slots > s->root_slots)
        return err_hint(err(ERR_INVALID, "Too many entries in root directory, or in '%s'", i->path),
                        "put files into a folder below it");
    i->len = i->parent ? round_up(slots * SLOT, s->per_cluster * SECTOR) : s->root_slots * SLOT;
    i->bytes = g_malloc0(i->len);
    if (i->parent)
        TRY(place(s, i));
    for (unsigned k = 0; k < i->inside->len; k++) {
        Item *c = i->inside->pdata[k];

        TRY(c->folder ? lay_out(s, c) : place(s, c));
    }
    return NULL;
}

/* Where all is, in sectors. */
static void geometry(Vvfat *s)
{
    s->bits = s->fat_type == TYPE_12 || (s->floppy && s->fat_type == TYPE_AUTO) ? 12 : 16;
    s->heads = s->floppy ? 2 : 16;
    s->track = s->floppy ? 36 : 63;
    s->total = (uint64_t)s->heads * s->track * (s->floppy ? 80 : s->bits == 12 ? 64 : 1024);
    s->per_cluster = s->floppy ? (s->bits == 12 ? 2 : 1) : 16;
    s->root_slots = s->floppy ? 240 : 512;
    s->start = s->floppy ? 0 : s->track;

    uint64_t left = s->total - s->start - 1 - s->root_slots * SLOT / SECTOR;
    s->fat_sectors = div_up((left / s->per_cluster + 2) * s->bits / 8 + 2, SECTOR);
    s->clusters = (left - 2 * s->fat_sectors) / s->per_cluster;
    s->data = s->start + 1 + 2 * s->fat_sectors + s->root_slots * SLOT / SECTOR;
}

static void put_chs(const Vvfat *s, uint8_t *p, uint64_t sector)
{
    uint64_t cylinder = sector / (s->track * s->heads);

    p[0] = sector / s->track % s->heads;
    p[1] = (sector % s->track + 1) | (cylinder >> 2 & 0xc0);
    p[2] = cylinder;
}

static void fill_boot(Vvfat *s)
{
    uint64_t sectors = s->total - s->start;
    uint8_t *b = s->boot, *p = s->mbr + 446;
    g_autofree char *label = g_strdup_printf("%-11.11s", s->label ? s->label : "LYRE VVFAT");

    memcpy(b, "\xeb\x3e\x90LYRE    ", 11);
    st_le16(b + 11, SECTOR);
    b[13] = s->per_cluster;
    st_le16(b + 14, 1);
    b[16] = 2;
    st_le16(b + 17, s->root_slots);
    st_le16(b + 19, sectors < 65536 ? sectors : 0);
    b[21] = s->floppy ? 0xf0 : 0xf8;
    st_le16(b + 22, s->fat_sectors);
    st_le16(b + 24, s->track);
    st_le16(b + 26, s->heads);
    st_le32(b + 28, s->start);
    st_le32(b + 32, sectors < 65536 ? 0 : sectors);
    b[36] = s->floppy ? 0 : 0x80;
    b[38] = 0x29;
    st_le32(b + 39, 0x4652594c);
    memcpy(b + 43, label, 11);
    memcpy(b + 54, s->bits == 12 ? "FAT12   " : "FAT16   ", 8);
    memcpy(b + 510, "\x55\xaa", 2);

    st_le32(s->mbr + 440, 0x4652594c);
    p[0] = 0x80;
    put_chs(s, p + 1, s->start);
    p[4] = s->bits == 12 ? 1 : 6;
    put_chs(s, p + 5, s->total - 1);
    st_le32(p + 8, s->start);
    st_le32(p + 12, sectors);
    memcpy(s->mbr + 510, "\x55\xaa", 2);
}

/* ---- open; the host's calls that may wait are a worker's */

typedef struct Look { Vvfat *s; Err *e; } Look;

static void look(void *arg)
{
    Look *l = arg;
    Vvfat *s = l->s;
    struct stat st = { .st_mode = S_IFDIR };
    int again;

    s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    again = s->fd < 0 ? -1 : openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0) {
        l->e = err_errno(errno, "cannot open the folder '%s'", s->dir);
        return;
    }
    s->top = item_new(NULL, "", &st);
    l->e = scan(s, s->top, again, 0);
}

static Err *vvfat_open(BlockNode *n)
{
    Vvfat *s = (Vvfat *)n;
    Look l = { s, NULL };

    s->fd = -1;
    if (!s->dir || !*s->dir)
        return err(ERR_INVALID, "vvfat needs the name of a folder (dir=..)");
    if (s->rw)
        return err_hint(err(ERR_UNSUPPORTED, "vvfat cannot write to the folder (rw)"),
                        "copy it into an image, or share it by other means");
    if (s->fat_type == TYPE_32)
        return err_hint(err(ERR_UNSUPPORTED, "vvfat makes no FAT32"), "leave fat-type away: FAT16 holds 500 MB");
    co_offload(look, &l);
    if (l.e)
        return l.e;
    geometry(s);
    s->fat = g_malloc0(s->fat_sectors * SECTOR);
    s->placed = g_ptr_array_new();
    set_fat(s, 0, (s->bits == 16 ? 0xff00 : 0xf00) | (s->floppy ? 0xf0 : 0xf8));
    set_fat(s, 1, s->bits == 16 ? 0xffff : 0xfff);
    s->next = 2;
    TRY(lay_out(s, s->top));
    fill_folder(s, s->top);
    fill_boot(s);
    n->size = s->total * SECTOR;
    return NULL;
}

static void vvfat_close(BlockNode *n)
{
    Vvfat *s = (Vvfat *)n;

    if (s->top)
        item_free(s->top);
    if (s->placed)
        g_ptr_array_free(s->placed, TRUE);
    g_free(s->fat);
    if (s->fd >= 0)
        close(s->fd);
}

/* ---- read */

typedef struct Fetch { int fd; const char *path; uint64_t off; uint8_t *out; size_t len; int ret; } Fetch;

/* A file that got shorter since has zeroes at its end. */
static void fetch(void *arg)
{
    Fetch *f = arg;
    int fd = openat(f->fd, f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    memset(f->out, 0, f->len);
    f->ret = fd < 0 ? -errno : 0;
    for (size_t done = 0; fd >= 0 && done < f->len;) {
        ssize_t n = pread(fd, f->out + done, f->len - done, f->off + done);

        if (n < 0 && errno != EINTR)
            f->ret = -errno;
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        done += n > 0 ? n : 0;
    }
    if (fd >= 0)
        close(fd);
}

static gint covers(gconstpointer key, gconstpointer item)
{
    const uint32_t cluster = *(const uint32_t *)key;
    const Item *i = *(Item *const *)item;

    return cluster < i->cluster ? -1 : cluster >= i->cluster + i->clusters;
}

/* Copies of what is in memory; the step, which ends with it. */
static size_t copy_part(const uint8_t *from, uint64_t in, uint64_t size, uint8_t *out, size_t len)
{
    size_t step = MIN(len, size - in);

    memcpy(out, from + in, step);
    return step;
}

/* A part of the data area: of one file or folder, or of nothing. */
static int read_data(Vvfat *s, uint64_t in, uint8_t *out, size_t len, size_t *step)
{
    uint32_t size = s->per_cluster * SECTOR, cluster = 2 + in / size;
    Item **at = s->placed->len ? bsearch(&cluster, s->placed->pdata, s->placed->len, sizeof(gpointer), covers) : NULL;

    *step = MIN(len, size - in % size);
    if (!at) {
        memset(out, 0, *step);
        return 0;
    }
    uint64_t off = in - (uint64_t)((*at)->cluster - 2) * size, all = (uint64_t)(*at)->clusters * size;
    if ((*at)->folder) {
        *step = copy_part((*at)->bytes, off, (*at)->len, out, len);
        return 0;
    }
    *step = MIN(len, all - off);
    Fetch f = { s->fd, (*at)->path, off, out, *step, 0 };
    co_offload(fetch, &f);
    return f.ret;
}

static int vvfat_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vvfat *s = (Vvfat *)n;
    const uint64_t fat = (s->start + 1) * SECTOR, fat_len = s->fat_sectors * SECTOR, root = fat + 2 * fat_len;
    g_autofree uint8_t *buf = g_try_malloc(q->len);
    int ret = 0;

    if (!buf)
        return -ENOMEM;
    for (size_t done = 0, step; done < q->len && !ret; done += step) {
        uint64_t at = off + done;
        uint8_t *out = buf + done;
        size_t left = q->len - done;

        if (at < SECTOR && s->start) {
            step = copy_part(s->mbr, at, SECTOR, out, left);
        } else if (at < s->start * SECTOR) {
            step = MIN(left, s->start * SECTOR - at);
            memset(out, 0, step);
        } else if (at < fat) {
            step = copy_part(s->boot, at - s->start * SECTOR, SECTOR, out, left);
        } else if (at < root) {
            step = copy_part(s->fat, (at - fat) % fat_len, fat_len, out, left);
        } else if (at < s->data * SECTOR) {
            step = copy_part(s->top->bytes, at - root, s->top->len, out, left);
        } else {
            ret = read_data(s, at - s->data * SECTOR, out, left, &step);
        }
    }
    if (!ret)
        iov_write(q, 0, buf, q->len);
    return ret;
}

/* Clusters behind the last that is used are zero. */
static int vvfat_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Vvfat *s = (Vvfat *)n;
    uint64_t used = (s->data + (uint64_t)(s->next - 2) * s->per_cluster) * SECTOR;

    *out = (Extent){ .len = len, .flags = EXTENT_ALLOCATED | EXTENT_ZERO };
    if (off < used)
        *out = (Extent){ .len = MIN(len, used - off), .flags = EXTENT_ALLOCATED | EXTENT_DATA };
    return 0;
}

static const char *const vvfat_schemes[] = { "fat:", NULL };

BLOCK(vvfat) = {
    .name = "vvfat", .doc = "a folder of the host as a FAT disk (read only)",
    .kind = DRIVER_PROTOCOL, .size = sizeof(Vvfat), .fields = vvfat_fields,
    .schemes = vvfat_schemes, .parse_name = vvfat_parse_name,
    .open = vvfat_open, .close = vvfat_close, .read = vvfat_read, .extent = vvfat_extent,
};
