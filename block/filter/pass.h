/* SPDX-License-Identifier: MIT */
/*
 * What a filter does where it does nothing: the request goes to its "file"
 * child as it is.
 */
#ifndef BLOCK_FILTER_PASS_H
#define BLOCK_FILTER_PASS_H

#include "block/driver.h"

Err *pass_open(BlockNode *n);
int pass_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int pass_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int pass_write_compressed(BlockNode *n, uint64_t off, const IoVec *q);
int pass_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags);
int pass_discard(BlockNode *n, uint64_t off, uint64_t len);
uint64_t pass_size_now(BlockNode *n);

#endif
