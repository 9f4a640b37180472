/* SPDX-License-Identifier: MIT */
/*
 * A saved machine with its memory, in a file or in the part of an image that is
 * for this:
 *
 *   page 0     header: magic, version, where the parts are, a checksum
 *   then       the machine (system/stream.h)
 *   then       each memory block at a multiple of 64 KiB, page by page where it was: what is all zeros, or
 *              equal to an earlier page, is a hole
 *   then       the list of equal pages
 *
 * So a block can be mapped as it is: loading costs no time for memory, pages come
 * in when the guest touches them, and stay private to it. Each page that is equal to
 * another is a mapping of its own (some 4 us), so they are few (COPIES_SAVED); more are
 * stored as they are.
 *
 * A file that is cut while it is mapped ends the process, as any mapped file does:
 * files are replaced and removed as a whole, never written again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "system/state-priv.h"
#include "util/file.h"

enum {
    STORE_VERSION = 1, RAM_ALIGN = 64 << 10, RUN_MAX = 1 << 20 /* bytes of a write */,
    BLOCKS_MAX = 256, COPIES_SAVED = 2048 /* pages */, COPIES_MAX = 16384 /* that older builds saved */, BLOB_MAX = 256 << 20,
};

static const char magic[16] = "Lyre machine\r\n\x1a";

typedef struct Header {             /* little-endian */
    char magic[16];
    uint32_t version, blocks;
    uint64_t blob_at, blob_len;
    uint64_t copies_at, copies;     /* of Copy */
    uint64_t total;                 /* bytes of all; the last is there */
    uint64_t clock;                 /* of the guest */
    uint32_t blob_crc, copies_crc;
    struct { uint64_t at, size; } block[BLOCKS_MAX];        /* in the order of the machine's list */
    uint32_t crc;                   /* of what is before it */
} Header;

/* A page that is equal to an earlier one; both count from the first page of the first block. */
typedef struct Copy { uint64_t page, like; } Copy;

G_STATIC_ASSERT(sizeof(Header) <= 2 * PAGE_SIZE);
#define BLOB_AT (2 * PAGE_SIZE)

uint32_t state_crc(const void *data, size_t len)
{
    uint32_t crc = 0;

    for (const uint8_t *p = data; len;) {
        uInt n = MIN(len, (size_t)1 << 30);

        crc = crc32(crc, p, n);
        p += n;
        len -= n;
    }
    return crc;
}

static uint64_t up(uint64_t v)
{
    return (v + RAM_ALIGN - 1) & ~(uint64_t)(RAM_ALIGN - 1);
}

/* ---- pages: zeros, and those seen before */

static bool is_zero(const uint8_t *page)
{
    const uint64_t *w = (const uint64_t *)page;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i += 8) {
        if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
            return false;
    }
    return true;
}

/* Four lanes, so that it goes at the speed of memory; equal pages are compared before they count as equal. */
static uint64_t hash(const uint8_t *page)
{
    const uint64_t *w = (const uint64_t *)page;
    uint64_t h[4] = { 1, 2, 3, 4 };

    for (unsigned i = 0; i < PAGE_SIZE / 8; i += 4) {
        for (unsigned l = 0; l < 4; l++)
            h[l] = (h[l] ^ w[i + l]) * UINT64_C(0x9e3779b97f4a7c15) ^ h[l] >> 29;
    }
    return h[0] ^ h[1] * 3 ^ h[2] * 5 ^ h[3] * 7;
}

/* The pages that were written, by hash: the last with each slot's hash. */
typedef struct Seen { const uint8_t *host; uint64_t hash, page; } Seen;
enum { SEEN_BITS = 16 };

typedef struct Writer {
    const StateStore *s;
    Seen *seen;
    GArray *copies;             /* of Copy */
    uint64_t end;               /* of what was written */
} Writer;

static bool is_copy(Writer *w, const uint8_t *host, uint64_t page)
{
    uint64_t h = hash(host);
    Seen *s = &w->seen[h >> (64 - SEEN_BITS)];

    if (s->host && s->hash == h && w->copies->len < COPIES_SAVED && !memcmp(s->host, host, PAGE_SIZE)) {
        const Copy c = { page, s->page };

        g_array_append_val(w->copies, c);
        return true;
    }
    *s = (Seen){ host, h, page };
    return false;
}

static int put(Writer *w, uint64_t at, const void *data, size_t len)
{
    int r = w->s->write(w->s->opaque, at, data, len);

    w->end = MAX(w->end, at + len);
    return r;
}

/* The runs of pages of a block that have to be there. */
static int put_block(Writer *w, const RamBlock *b, uint64_t at, uint64_t first_page)
{
    uint64_t from = 0, off;

    for (off = 0; off < b->size; off += PAGE_SIZE) {
        bool gap = is_zero(b->host + off) || is_copy(w, b->host + off, first_page + off / PAGE_SIZE);

        if (off > from && (gap || off - from >= RUN_MAX)) {
            int r = put(w, at + from, b->host + from, off - from);

            if (r)
                return r;
            from = off;
        }
        if (gap)
            from = off + PAGE_SIZE;
    }
    return off > from ? put(w, at + from, b->host + from, off - from) : 0;
}

static int put_all(Vm *vm, Writer *w, Header *h, const GByteArray *blob)
{
    uint64_t at = up(BLOB_AT + blob->len), first_page = 0;
    int r = put(w, BLOB_AT, blob->data, blob->len);

    for (const RamBlock *b = vm->rams; b && !r; b = b->next) {
        h->block[h->blocks].at = at;
        h->block[h->blocks++].size = b->size;
        r = put_block(w, b, at, first_page);
        first_page += b->size / PAGE_SIZE;
        at = up(at + b->size);
    }
    h->copies_at = at;
    h->copies = w->copies->len;
    h->copies_crc = state_crc(w->copies->data, w->copies->len * sizeof(Copy));
    if (!r && h->copies)
        r = put(w, at, w->copies->data, w->copies->len * sizeof(Copy));
    /* The last page of the last block may be a hole: a byte behind it all makes it part of the file. */
    h->total = at + h->copies * sizeof(Copy) + 1;
    return r ? r : put(w, h->total - 1, "", 1);
}

Err *state_store_save(Vm *vm, const StateStore *s, uint64_t *bytes)
{
    Writer w = { .s = s, .seen = g_new0(Seen, 1 << SEEN_BITS), .copies = g_array_new(false, false, sizeof(Copy)) };
    GByteArray *blob = state_gather(vm);
    g_autofree Header *h = g_new0(Header, 1);

    *h = (Header){ .version = STORE_VERSION, .blob_at = BLOB_AT, .blob_len = blob->len,
                   .blob_crc = state_crc(blob->data, blob->len), .clock = clock_now(vm, CLOCK_GUEST) };
    memcpy(h->magic, magic, sizeof(magic));
    int r = put_all(vm, &w, h, blob);
    h->crc = state_crc(h, offsetof(Header, crc));
    /* The header last: what was broken off is no saved machine. */
    if (!r)
        r = put(&w, 0, h, sizeof(*h));
    *bytes = h->total;
    g_byte_array_free(blob, true);
    g_array_free(w.copies, true);
    g_free(w.seen);
    return r ? err_errno(-r, "cannot write the machine's state") : NULL;
}

/* ---- reading */

static Err *get(const StateStore *s, uint64_t at, void *data, size_t len)
{
    int r = s->read(s->opaque, at, data, len);

    return r ? err_errno(-r, "cannot read the machine's state") : NULL;
}

static bool inside(const Header *h, uint64_t at, uint64_t len)
{
    uint64_t end;

    return !__builtin_add_overflow(at, len, &end) && at >= BLOB_AT && end <= h->total;
}

static Err *read_header(const StateStore *s, Header *h)
{
    TRY(get(s, 0, h, sizeof(*h)));
    if (memcmp(h->magic, magic, sizeof(magic)))
        return err(ERR_INVALID, "it is no saved machine");
    if (h->version != STORE_VERSION)
        return err(ERR_UNSUPPORTED, "it has version %u, and this program knows %d", h->version, STORE_VERSION);
    if (h->crc != state_crc(h, offsetof(Header, crc)))
        return err(ERR_INVALID, "its header is damaged");
    bool good = h->blocks <= BLOCKS_MAX && h->copies <= COPIES_MAX && h->blob_len <= BLOB_MAX
        && inside(h, h->blob_at, h->blob_len) && inside(h, h->copies_at, h->copies * sizeof(Copy));
    for (uint32_t i = 0; good && i < h->blocks; i++)
        good = inside(h, h->block[i].at, h->block[i].size) && h->block[i].at % PAGE_SIZE == 0;
    return good ? NULL : err(ERR_INVALID, "its header makes no sense");
}

Err *state_store_clock(const StateStore *s, int64_t *ns)
{
    g_autofree Header *h = g_new(Header, 1);

    TRY(read_header(s, h));
    *ns = h->clock;
    return NULL;
}

static Err *read_blob(const StateStore *s, const Header *h, GBytes **out)
{
    g_autofree uint8_t *blob = g_malloc(h->blob_len);

    TRY(get(s, h->blob_at, blob, h->blob_len));
    if (state_crc(blob, h->blob_len) != h->blob_crc)
        return err(ERR_INVALID, "its state is damaged");
    *out = g_bytes_new_take(g_steal_pointer(&blob), h->blob_len);
    return NULL;
}

/* The blocks are those of the machine; state_check has compared their names. */
static Err *check_blocks(Vm *vm, const Header *h)
{
    uint32_t n = 0;

    for (const RamBlock *b = vm->rams; b; b = b->next, n++) {
        if (n >= h->blocks || h->block[n].size != b->size)
            return err(ERR_INVALID, "its memory '%s' is of another size", b->name);
    }
    return n == h->blocks ? NULL : err(ERR_INVALID, "it has more memories than the machine");
}

static Err *read_copies(const StateStore *s, const Header *h, Copy **out)
{
    uint64_t pages = 0;
    g_autofree Copy *c = g_new(Copy, h->copies + 1);

    TRY(get(s, h->copies_at, c, h->copies * sizeof(Copy)));
    for (uint32_t i = 0; i < h->blocks; i++)
        pages += h->block[i].size / PAGE_SIZE;
    bool good = state_crc(c, h->copies * sizeof(Copy)) == h->copies_crc;
    for (uint64_t i = 0; good && i < h->copies; i++)
        good = c[i].page < pages && c[i].like < c[i].page;
    if (!good)
        return err(ERR_INVALID, "its list of equal pages is damaged");
    *out = g_steal_pointer(&c);
    return NULL;
}

/* All that can be wrong is found here, before anything of the machine is changed. */
Err *state_store_check(Vm *vm, const StateStore *s, GBytes **out)
{
    g_autofree Header *h = g_new(Header, 1);
    g_autofree Copy *copies = NULL;
    GBytes *blob = NULL;
    gsize len;

    TRY(read_header(s, h));
    TRY(check_blocks(vm, h));
    TRY(read_copies(s, h, &copies));
    TRY(read_blob(s, h, &blob));
    const void *data = g_bytes_get_data(blob, &len);
    Err *e = state_check(vm, data, len);
    if (!e && s->fd >= 0) {
        struct stat st;

        if (fstat(s->fd, &st) < 0 || (uint64_t)st.st_size < h->total)
            e = err(ERR_INVALID, "the file was cut");
    }
    if (e)
        g_bytes_unref(blob);
    else
        *out = blob;
    return e;
}

/* Memory from the file itself: nothing is read until it is used, nothing is written back. */
static Err *map_block(const StateStore *s, RamBlock *b, uint64_t at)
{
    if (mmap(b->host, b->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->fd, at) == MAP_FAILED)
        return err_errno(errno, "cannot map the memory '%s'", b->name);
    return NULL;
}

/* What was there before is given back; then only what is not zero is touched. */
static Err *read_block(const StateStore *s, RamBlock *b, uint64_t at)
{
    g_autofree uint8_t *buf = g_malloc(RUN_MAX);
    static const uint8_t zeros[PAGE_SIZE];

    TRY(ram_clear(b));
    for (uint64_t off = 0; off < b->size; off += RUN_MAX) {
        size_t n = MIN(b->size - off, (uint64_t)RUN_MAX);

        TRY(get(s, at + off, buf, n));
        for (size_t i = 0; i < n; i += PAGE_SIZE) {
            if (memcmp(buf + i, zeros, PAGE_SIZE))
                memcpy(b->host + off + i, buf + i, PAGE_SIZE);
        }
    }
    return NULL;
}

/* Where a page is in memory, and in the store. */
static uint8_t *page_at(Vm *vm, const Header *h, uint64_t page, uint64_t *at)
{
    uint32_t n = 0;

    for (RamBlock *b = vm->rams; b; b = b->next, n++) {
        if (page < b->size / PAGE_SIZE) {
            *at = h->block[n].at + page * PAGE_SIZE;
            return b->host + page * PAGE_SIZE;
        }
        page -= b->size / PAGE_SIZE;
    }
    g_assert_not_reached();     /* read_copies has seen that it is inside */
}

/* A file's page is mapped once more: a copy would read it, wherever it lies. */
static Err *load_copy(Vm *vm, const StateStore *s, const Header *h, const Copy *c)
{
    uint64_t at, there;
    uint8_t *page = page_at(vm, h, c->page, &there), *like = page_at(vm, h, c->like, &at);

    if (s->fd < 0)
        memcpy(page, like, PAGE_SIZE);
    else if (mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->fd, at) == MAP_FAILED)
        return err_errno(errno, "cannot map a page of memory");
    return NULL;
}

/* ---- an image's clusters as memory */

/* The pages [from, from + len) of the store that lie in the run, at `host`. */
static Err *map_run(const StateRun *run, int fd, uint8_t *host, uint64_t from, uint64_t len, GArray *parts)
{
    uint64_t first = MAX(from, run->off), end = MIN(from + len, run->off + run->len);

    if (first >= end)
        return NULL;
    const StateLoanPart part = { host + (first - from), end - first };
    if (mmap(part.host, part.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, run->host + (first - run->off)) == MAP_FAILED)
        return err_errno(errno, "cannot map memory");
    g_array_append_val(parts, part);
    return NULL;
}

/* Index of the first run that ends behind `off`. */
static guint run_at(const GArray *runs, uint64_t off)
{
    guint lo = 0, hi = runs->len;

    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        const StateRun *r = &g_array_index(runs, StateRun, mid);

        if (r->off + r->len > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static Err *map_from(const GArray *runs, int fd, uint8_t *host, uint64_t from, uint64_t len, GArray *parts)
{
    for (guint i = run_at(runs, from); i < runs->len && g_array_index(runs, StateRun, i).off < from + len; i++)
        TRY(map_run(&g_array_index(runs, StateRun, i), fd, host, from, len, parts));
    return NULL;
}

static Err *map_image(Vm *vm, const StateStore *s, int fd, const GArray *runs, const Header *h, const Copy *copies)
{
    g_autoptr(GArray) parts = g_array_new(false, false, sizeof(StateLoanPart));
    uint32_t n = 0;

    for (RamBlock *b = vm->rams; b; b = b->next, n++) {
        TRY(ram_clear(b));
        TRY(map_from(runs, fd, b->host, h->block[n].at, b->size, parts));
    }
    for (uint64_t i = 0; i < h->copies; i++) {
        uint64_t at, there;
        uint8_t *page = page_at(vm, h, copies[i].page, &there);

        page_at(vm, h, copies[i].like, &at);
        TRY(map_from(runs, fd, page, at, PAGE_SIZE, parts));
    }
    for (RamBlock *b = vm->rams; b; b = b->next)
        ram_of_file(b);
    return state_loan_begin(vm, s, parts);
}

/* true: *e says how it went; false: it has to be read. */
static bool try_to_map(Vm *vm, const StateStore *s, const Header *h, const Copy *copies, Err **e)
{
    g_autoptr(GArray) runs = g_array_new(false, false, sizeof(StateRun));
    int fd = s->map ? s->map(s->opaque, h->total, runs) : -ENOTSUP;

    if (fd < 0)
        return false;
    *e = map_image(vm, s, fd, runs, h, copies);
    close(fd);
    return true;
}

static Err *load_memory(Vm *vm, const StateStore *s)
{
    g_autofree Header *h = g_new(Header, 1);
    g_autofree Copy *copies = NULL;
    uint32_t n = 0;
    Err *e = NULL;

    TRY(read_header(s, h));
    TRY(check_blocks(vm, h));
    TRY(read_copies(s, h, &copies));
    state_loan_end(vm);
    if (try_to_map(vm, s, h, copies, &e))
        return e;
    for (RamBlock *b = vm->rams; b; b = b->next, n++) {
        if (s->fd >= 0)
            TRY(map_block(s, b, h->block[n].at));
        else
            TRY(read_block(s, b, h->block[n].at));
    }
    for (uint64_t i = 0; i < h->copies; i++)
        TRY(load_copy(vm, s, h, &copies[i]));
    for (RamBlock *b = vm->rams; b && s->fd >= 0; b = b->next)
        ram_of_file(b);
    return NULL;
}

Err *state_store_load(Vm *vm, const StateStore *s, GBytes *blob)
{
    gsize len;
    const void *data = g_bytes_get_data(blob, &len);

    vm->loading = true;
    vm_reset(vm);
    vm->loading = false;
    TRY(load_memory(vm, s));
    state_touch_memory(vm);
    return state_apply(vm, data, len);
}

/* ---- a file */

static int file_write(void *opaque, uint64_t off, const void *data, size_t len)
{
    return file_pwrite(*(int *)opaque, off, data, len);
}

/* A file that ends too early is damaged. */
static int file_read(void *opaque, uint64_t off, void *data, size_t len)
{
    return file_pread(*(int *)opaque, off, data, len);
}

StateStore state_file_store(int *fd)
{
    return (StateStore){ .write = file_write, .read = file_read, .opaque = fd, .fd = *fd };
}

/* Under another name until it is whole: one that is mapped is never written. */
Err *state_save_file(Vm *vm, const char *path)
{
    g_autofree char *temp = g_strdup_printf("%s.%d", path, (int)getpid());
    int fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t bytes;

    if (fd < 0)
        return err_errno(errno, "cannot create '%s'", temp);
    const StateStore s = state_file_store(&fd);
    Err *e = state_store_save(vm, &s, &bytes);
    if (!e && rename(temp, path) < 0)
        e = err_errno(errno, "cannot rename '%s' to '%s'", temp, path);
    close(fd);
    if (e)
        unlink(temp);
    return err_in(e, "%s", path);
}

Err *state_load_file(Vm *vm, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    GBytes *blob;

    if (fd < 0)
        return err_errno(errno, "cannot open '%s'", path);
    const StateStore s = state_file_store(&fd);
    Err *e = state_store_check(vm, &s, &blob);
    if (!e) {
        e = state_store_load(vm, &s, blob);
        g_bytes_unref(blob);
    }
    close(fd);
    return err_in(e, "%s", path);
}
