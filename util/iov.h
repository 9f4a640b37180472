/* SPDX-License-Identifier: MIT */
/*
 * IoVec: a bounded view of scattered memory. The view owns nothing; it is
 * passed by value or by pointer, and a slice costs no copy. Every length that
 * comes from a guest or a file ends up here, so that nothing reads or writes
 * beyond `len`.
 */
#ifndef UTIL_IOV_H
#define UTIL_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

typedef struct IoVec {
    const struct iovec *v;      /* n elements, the view's first byte is `skip` bytes into them */
    unsigned n;
    size_t skip, len;           /* len: bytes of the view; skip + len never exceeds the elements' sum */
} IoVec;

/* A view of one buffer; `store` must live as long as the view. */
static inline IoVec iov_buf(struct iovec *store, void *p, size_t len)
{
    *store = (struct iovec){ p, len };
    return (IoVec){ store, 1, 0, len };
}
#define IOV_BUF(p, len_) ((IoVec){ &(struct iovec){ (void *)(p), (len_) }, 1, 0, (len_) })

IoVec iov_of(const struct iovec *v, unsigned n);            /* all of it; the sum of lengths must not overflow */
IoVec iov_slice(const IoVec *q, size_t off, size_t len);    /* off + len must be within q */

/* Copies between the view at `off` and a buffer; off + len must be within the view. */
void iov_read(const IoVec *q, size_t off, void *to, size_t len);
void iov_write(const IoVec *q, size_t off, const void *from, size_t len);
void iov_fill(const IoVec *q, size_t off, int byte, size_t len);
void iov_copy(const IoVec *to, const IoVec *from);          /* to->len bytes; from is at least as long */
bool iov_is_zero(const IoVec *q);
bool iov_aligned(const IoVec *q, size_t mem_align);         /* every element's address and length */
/* First offset where they differ, or the shorter length. */
size_t iov_differ(const IoVec *a, const IoVec *b);

/* The view as plain elements: fills out[0..max) and returns how many; *bytes says how much they cover. */
unsigned iov_elements(const IoVec *q, struct iovec *out, unsigned max, size_t *bytes);
/* The single buffer behind the view, or NULL when it is more than one. */
void *iov_flat(const IoVec *q);

/* Is the buffer all zero? As fast as memory. */
bool buf_is_zero(const void *p, size_t len);

#endif
