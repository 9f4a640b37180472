/* SPDX-License-Identifier: MIT */
/*
 * The NBD protocol's numbers and layouts, by the names of its document
 * (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, with the
 * extension of 64-bit headers). All numbers on the wire are big-endian.
 */
#ifndef BLOCK_NBD_PROTOCOL_H
#define BLOCK_NBD_PROTOCOL_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* ---- handshake */

#define NBD_DEFAULT_PORT "10809"

#define NBD_INIT_MAGIC  UINT64_C(0x4e42444d41474943)        /* "NBDMAGIC" */
#define NBD_OPTS_MAGIC  UINT64_C(0x49484156454f5054)        /* "IHAVEOPT", newstyle */
#define NBD_OLD_MAGIC   UINT64_C(0x00420281861253)          /* oldstyle */
#define NBD_REP_MAGIC   UINT64_C(0x0003e889045565a9)

enum {                              /* handshake flags; the client's are the same */
    NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
    NBD_FLAG_NO_ZEROES = 1 << 1,
};

enum {                              /* transmission flags of an export */
    NBD_FLAG_HAS_FLAGS = 1 << 0,
    NBD_FLAG_READ_ONLY = 1 << 1,
    NBD_FLAG_SEND_FLUSH = 1 << 2,
    NBD_FLAG_SEND_FUA = 1 << 3,
    NBD_FLAG_ROTATIONAL = 1 << 4,
    NBD_FLAG_SEND_TRIM = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
    NBD_FLAG_SEND_DF = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
    NBD_FLAG_SEND_RESIZE = 1 << 9,
    NBD_FLAG_SEND_CACHE = 1 << 10,
    NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
    NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12,
};

enum {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_STARTTLS = 5, NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7, NBD_OPT_STRUCTURED_REPLY = 8, NBD_OPT_LIST_META_CONTEXT = 9, NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ERR(n) (UINT32_C(1) << 31 | (n))
enum {
    NBD_REP_ACK = 1, NBD_REP_SERVER = 2, NBD_REP_INFO = 3, NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP           NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY          NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID         NBD_REP_ERR(3)
#define NBD_REP_ERR_PLATFORM        NBD_REP_ERR(4)
#define NBD_REP_ERR_TLS_REQD        NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN         NBD_REP_ERR(6)
#define NBD_REP_ERR_SHUTDOWN        NBD_REP_ERR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERR(8)
#define NBD_REP_ERR_TOO_BIG         NBD_REP_ERR(9)
#define NBD_REP_ERR_EXT_HEADER_REQD NBD_REP_ERR(10)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

#define NBD_NAME_MAX 4096           /* bytes of any string */

/* ---- transmission */

#define NBD_REQUEST_MAGIC           UINT32_C(0x25609513)
#define NBD_SIMPLE_REPLY_MAGIC      UINT32_C(0x67446698)
#define NBD_STRUCTURED_REPLY_MAGIC  UINT32_C(0x668e33ef)
#define NBD_EXTENDED_REQUEST_MAGIC  UINT32_C(0x21e41c71)
#define NBD_EXTENDED_REPLY_MAGIC    UINT32_C(0x6e8a278c)

enum {
    NBD_CMD_READ = 0, NBD_CMD_WRITE = 1, NBD_CMD_DISC = 2, NBD_CMD_FLUSH = 3, NBD_CMD_TRIM = 4, NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6, NBD_CMD_BLOCK_STATUS = 7,
};

enum {
    NBD_CMD_FLAG_FUA = 1 << 0,
    NBD_CMD_FLAG_NO_HOLE = 1 << 1,          /* write zeroes */
    NBD_CMD_FLAG_DF = 1 << 2,               /* read: one chunk of content */
    NBD_CMD_FLAG_REQ_ONE = 1 << 3,          /* block status: one extent */
    NBD_CMD_FLAG_FAST_ZERO = 1 << 4,        /* write zeroes: fail rather than be slow */
    NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,      /* extended headers: length counts a payload */
};

enum { NBD_REPLY_FLAG_DONE = 1 };
enum {
    NBD_REPLY_TYPE_NONE = 0, NBD_REPLY_TYPE_OFFSET_DATA = 1, NBD_REPLY_TYPE_OFFSET_HOLE = 2,
    NBD_REPLY_TYPE_BLOCK_STATUS = 5, NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6,
    NBD_REPLY_TYPE_IS_ERROR = 1 << 15,      /* a bit */
    NBD_REPLY_TYPE_ERROR = 1 << 15 | 1, NBD_REPLY_TYPE_ERROR_OFFSET = 1 << 15 | 2,
};

enum {                                      /* errors on the wire, whatever the host's are */
    NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28, NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95, NBD_ESHUTDOWN = 108,
};

enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };    /* base:allocation */
enum { NBD_STATE_DIRTY = 1 };                       /* qemu:dirty-bitmap:* */

#define NBD_BASE_ALLOCATION     "base:allocation"
#define NBD_ALLOCATION_DEPTH    "qemu:allocation-depth"
#define NBD_DIRTY_BITMAP        "qemu:dirty-bitmap:"

/* Lengths of headers. */
enum {
    NBD_REQUEST_LEN = 28, NBD_EXTENDED_REQUEST_LEN = 32,
    NBD_SIMPLE_REPLY_LEN = 16, NBD_STRUCTURED_REPLY_LEN = 20, NBD_EXTENDED_REPLY_LEN = 32,
};

/* What everybody may send without having asked; longer requests need a block size that says so. */
#define NBD_MAX_PAYLOAD (32u << 20)

/* ---- numbers in buffers */

static inline uint16_t get16(const void *p) { uint16_t v; memcpy(&v, p, 2); return be16toh(v); }
static inline uint32_t get32(const void *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static inline uint64_t get64(const void *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }
/* Return where the next one goes. */
static inline void *put16(void *p, uint16_t v) { v = htobe16(v); return (char *)memcpy(p, &v, 2) + 2; }
static inline void *put32(void *p, uint32_t v) { v = htobe32(v); return (char *)memcpy(p, &v, 4) + 4; }
static inline void *put64(void *p, uint64_t v) { v = htobe64(v); return (char *)memcpy(p, &v, 8) + 8; }

#endif
