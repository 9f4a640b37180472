/* SPDX-License-Identifier: MIT */
/* Encrypted reads and writes of a node, in coroutines. */
#ifndef BLOCK_CRYPTO_CRYPT_IO_H
#define BLOCK_CRYPTO_CRYPT_IO_H

#include "block/crypto/crypt.h"
#include "block/driver.h"

/* crypt_run, in a worker thread if it takes long. May yield. */
void crypt_run_co(const Crypt *c, bool encrypt, uint64_t sector, const uint8_t *src, uint8_t *dst, size_t len);
/* `sector`: the number of the first one at `off` of the child. off and the length are whole sectors. 0 or -errno. */
int crypt_read(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q);
int crypt_write(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q, unsigned flags);

#endif
