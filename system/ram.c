/* SPDX-License-Identifier: MIT */
/*
 * RAM: host memory for the guest, and the flags of its pages.
 *
 * A block is anonymous memory at a huge page's boundary, so that the kernel can
 * back it with huge pages; nothing is touched before the guest does it. The
 * flags tell who waits to hear of stores; ram_touch is how everybody but a
 * vCPU's inline path reports them.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "system/mem.h"
#include "system/vm.h"
#include "util/str.h"

#define HUGE_PAGE (UINT64_C(2) << 20)
#define RAM_MAX (UINT64_C(1) << 46)     /* what a host process can map, with room for the rest */

enum { DISCARDS_MOST = 8192 };           /* mappings, of which a process has some 65000 */

void (*ram_code_touched)(RamBlock *b, uint64_t off, uint64_t len);
void (*ram_debug_touched)(RamBlock *b, uint64_t off, uint64_t len);
void (*ram_revoke_stores)(Vm *vm);

/* `size` bytes at a multiple of HUGE_PAGE; NULL with errno. */
static uint8_t *map_aligned(uint64_t size)
{
    uint64_t room = size + HUGE_PAGE;
    uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    uint8_t *at = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) & -(uintptr_t)HUGE_PAGE);
    if (at > p)
        munmap(p, at - p);
    if (at + size < p + room)
        munmap(at + size, p + room - (at + size));
    return at;
}

static Err *no_memory(int errnum, const char *name, uint64_t size)
{
    char *text = size_to_text(size);
    Err *e = err_hint(err_errno(errnum, "cannot allocate %s (%" PRIu64 " bytes) of guest memory '%s'",
                                text, size, name),
                      "A smaller -m makes do with less.");

    g_free(text);
    return e;
}

Err *ram_new(Vm *vm, const char *name, uint64_t size, RamBlock **out)
{
    if (!size || size % PAGE_SIZE || size > RAM_MAX)
        return err_hint(err(ERR_INVALID, "guest memory '%s' cannot be %" PRIu64 " bytes large: it must be a multiple "
                            "of %d between %d and %" PRIu64, name, size, PAGE_SIZE, PAGE_SIZE, RAM_MAX),
                        "-m says how large it is.");
    uint8_t *host = map_aligned(size);
    if (!host)
        return no_memory(errno, name, size);
    uint64_t npages = size >> PAGE_BITS;
    void *pages = mmap(NULL, npages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        int errnum = errno;

        munmap(host, size);
        return no_memory(errnum, name, size);
    }
    /* Advice only: a kernel without huge pages is slower, not wrong. */
    madvise(host, size, MADV_HUGEPAGE);

    RamBlock *b = g_new0(RamBlock, 1);
    *b = (RamBlock){ .name = g_strdup(name), .host = host, .size = size, .pages = pages,
                      .in_core_dumps = true, .next = vm->rams };
    vm->rams = b;
    *out = b;
    return NULL;
}

void ram_free(RamBlock *b)
{
    munmap(b->host, b->size);
    munmap((void *)b->pages, b->size >> PAGE_BITS);
    g_free(b->name);
    g_free(b);
}

/* What was mapped anew is to be as ram_advise said. */
static void advised(const RamBlock *b, uint64_t off, uint64_t len)
{
    madvise(b->host + off, len, b->in_core_dumps ? MADV_DODUMP : MADV_DONTDUMP);
    if (b->mergeable)
        madvise(b->host + off, len, MADV_MERGEABLE);
}

void ram_advise(RamBlock *b, bool in_core_dumps, bool mergeable)
{
    b->in_core_dumps = in_core_dumps;
    b->mergeable = mergeable;
    advised(b, 0, b->size);
}

Err *ram_clear(RamBlock *b)
{
    if (mmap(b->host, b->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        return err_errno(errno, "cannot clear the memory '%s'", b->name);
    madvise(b->host, b->size, MADV_HUGEPAGE);
    b->of_file = false;
    b->discards = 0;
    advised(b, 0, b->size);
    return NULL;
}

void ram_of_file(RamBlock *b)
{
    b->of_file = true;
    advised(b, 0, b->size);
}

/* Without its page a mapping of a file shows the file again, which may be another by now, or shorter: so it is mapped over. */
bool ram_discard(RamBlock *b, uint64_t off, uint64_t len)
{
    if (!b->of_file)
        return madvise(b->host + off, len, MADV_DONTNEED) == 0;
    if (b->discards >= DISCARDS_MOST)
        return false;
    if (mmap(b->host + off, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        return false;
    b->discards++;
    advised(b, off, len);
    return true;
}

void ram_touch(RamBlock *b, uint64_t off, uint64_t len)
{
    if (!len)
        return;
    uint64_t first = off >> PAGE_BITS, last = (off + len - 1) >> PAGE_BITS;
    bool code = false, debug = false;

    /*
     * The bytes were stored before the flags are looked at: whoever sets a flag
     * and then reads bytes sees either the new bytes or is told. The locked
     * operation is the fence for the first page; on x86 it orders the others too.
     */
    for (uint64_t i = first; i <= last; i++) {
        uint8_t flags = i == first ? atomic_fetch_or(&b->pages[i], 0) : atomic_load(&b->pages[i]);

        if (flags & (PAGE_DISPLAY | PAGE_MIGRATE))
            atomic_fetch_and(&b->pages[i], (uint8_t)~(PAGE_DISPLAY | PAGE_MIGRATE));
        code |= flags & PAGE_CODE;
        debug |= flags & PAGE_DEBUG;
    }
    if (code && ram_code_touched)
        ram_code_touched(b, off, len);
    if (debug && ram_debug_touched)
        ram_debug_touched(b, off, len);
}
