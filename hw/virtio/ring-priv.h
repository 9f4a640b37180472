/* SPDX-License-Identifier: MIT */
/*
 * What is inside of a VirtQueue, for ring.c (elements, threads) and the two
 * formats of rings, split.c and packed.c.
 *
 * A queue is set up under the machine lock while it rests (live is false), and
 * used by one thread while it is live; `live` hands it over. Words in guest
 * memory are read once each, by the functions below: the guest changes them at
 * any time, and whatever they say is checked before it is used.
 */
#ifndef HW_VIRTIO_RING_PRIV_H
#define HW_VIRTIO_RING_PRIV_H

#include <endian.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "hw/virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };

/* A piece of guest memory that the device looks at often, as host memory. */
typedef struct RingPart { uint8_t *host; RamBlock *block; uint64_t off, len; } RingPart;

/* A buffer with what the device does not see of it; from the queue's cache. */
typedef struct Box {
    struct Box *next;           /* in the cache */
    struct iovec *iov; unsigned room;
    size_t size;                /* of the device's struct */
    uint16_t turn;              /* in-order: when it was popped */
    unsigned epoch;             /* of the queue, then */
    VirtElem elem __attribute__((aligned(16)));     /* and the rest of the device's struct */
} Box;

/* A completion on its way into the used ring. */
typedef struct Used { uint16_t id, count; bool done, wrote; uint32_t len; } Used;

/* One chain of descriptors, as it is walked. box NULL: it is only measured. */
typedef struct Chain {
    VirtQueue *q;
    Box *box;
    uint16_t id, count;         /* as VirtElem's head and count */
    unsigned n_out, n_in, descs;
    size_t out_len, in_len;
} Chain;

typedef struct Ring {
    /* Lengths of the three parts for that many descriptors, and what their addresses are multiples of. */
    void (*layout)(const VirtQueue *q, uint64_t len[3], unsigned align[3]);
    void (*start)(VirtQueue *q);                    /* indices as after a reset */
    /* Has the driver made one available `ahead` of the next? In descriptors (packed) or entries (split). */
    bool (*some)(VirtQueue *q, unsigned ahead);
    /* Walks the chain that is `ahead`; false: the queue is broken, or (chain) nothing is there. */
    bool (*walk)(VirtQueue *q, unsigned ahead, Chain *c);
    void (*take)(VirtQueue *q, unsigned count);     /* the next is behind that chain */
    void (*back)(VirtQueue *q, unsigned count);     /* undoes the last take */
    void (*put)(VirtQueue *q, const Used *u);       /* into the used ring, not seen yet */
    bool (*publish)(VirtQueue *q);                  /* now it is; does the driver want to be told? */
    /* The one that is `ahead` of the next rings, or none. A look at `some` afterwards sees all that came silently. */
    void (*bell)(VirtQueue *q, bool on, unsigned ahead);
} Ring;
extern const Ring split_ring, packed_ring;

struct VirtQueue {
    VirtioDevice *v;
    unsigned index, max;
    IoThread *io;                   /* NULL: main thread, under the machine lock */
    /* Set by the transport: machine lock, while it rests. */
    unsigned size;
    VirtqAddresses at;
    uint32_t legacy_pfn;
    _Atomic bool live;              /* enabled */
    _Atomic bool broken;
    _Atomic bool rung;              /* a call of handle is on its way */

    /* The queue's thread, while it is live. */
    const Ring *ring;
    bool event_idx, indirect, in_order;     /* as the driver chose */
    RingPart desc, avail, used;     /* looked up in the map `serial` */
    uint64_t serial;
    uint64_t ram_base, ram_last;    /* the range of RAM that was hit last: guest addresses, and where it is. Empty: last < base */
    uint8_t *ram_host; RamBlock *ram_block;
    uint16_t next, seen;            /* split: entries taken, the driver's index as seen last; packed: slot of the next */
    uint16_t used_next, used_shown; /* where the next completion goes; what the driver has been shown */
    bool next_wrap, used_wrap;      /* packed: wrap counters */
    uint16_t told;                  /* split: used index when it was interrupted last; packed: slots since then */
    bool told_valid;
    bool silent;                    /* virtq_bell turned the bell off */
    bool armed; unsigned armed_at;  /* the bell is on since `next` was that, and nothing has come */
    uint16_t held_slot, held_flags; /* packed: the first completion not shown, whose flags are written last */
    bool held;
    unsigned flying;                /* descriptors (split: entries) of buffers popped and not pushed */
    unsigned elems;                 /* buffers popped and not pushed */
    unsigned epoch;                 /* one more each time it is enabled: older buffers are none of this ring */
    Box *cache; unsigned n_cache;
    Used *order;                    /* in-order: completions that wait for earlier ones, by turn % size */
    uint16_t turn, turn_done;       /* of the next popped; of the next to be pushed */
};

/* ---- ring.c, for the formats */

/* The chain gets one more piece; false: the queue is broken. */
bool chain_add(Chain *c, uint64_t addr, uint32_t len, bool write);
/* A table of descriptors in guest memory, in one piece; NULL: it is none. */
const uint8_t *ring_table(VirtQueue *q, uint64_t addr, uint32_t len);

/* ---- words of guest memory, little-endian, aligned */

static inline uint16_t ring_load16(const void *p)
{
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store16(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}

static inline void ring_store32(void *p, uint32_t v)
{
    __atomic_store_n((uint32_t *)p, htole32(v), __ATOMIC_RELAXED);
}

/* A descriptor of either format: two words, each read once. Indirect tables may lie anywhere. */
static inline void ring_load_desc(const void *p, uint64_t *addr, uint64_t *rest)
{
    typedef uint64_t Anywhere __attribute__((aligned(1), may_alias));

    if ((uintptr_t)p & 7) {
        *addr = le64toh(*(const volatile Anywhere *)p);
        *rest = le64toh(*((const volatile Anywhere *)p + 1));
    } else {
        *addr = le64toh(__atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED));
        *rest = le64toh(__atomic_load_n((const uint64_t *)p + 1, __ATOMIC_RELAXED));
    }
}

/* Between a store of ours and a look at what the driver stored, or the other way round. */
static inline void ring_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Section 2.7.7.2: is `event` among the steps from `was` to `now`? */
static inline bool ring_passed(uint16_t event, uint16_t now, uint16_t was)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - was);
}

#endif
