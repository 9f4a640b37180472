/* SPDX-License-Identifier: MIT */
/*
 * A server of 9P2000.L: files of one folder of the host for one guest. It knows
 * no transport: calls come with their request and the place for the reply.
 *
 * All is one thread's: that of `loop`. A call is answered before p9_call
 * returns, unless it would wait for the host's disk; then in a later turn. The
 * guest is not trusted with anything but what is below the folder.
 */
#ifndef HW_9P_P9_H
#define HW_9P_P9_H

#include "hw/9p/fsdev.h"
#include "util/iov.h"
#include "util/loop.h"

typedef struct P9Server P9Server;
typedef struct P9Call P9Call;

enum {
    P9_MSIZE_MOST = 1 << 20,        /* of a message */
    P9_FIDS_MOST = 1 << 20,
};

struct P9Call {
    IoVec out, in;                  /* the request; room for the reply. Valid until done */
    void (*done)(P9Call *, uint32_t len);   /* len: of the reply; 0: no reply is possible, the request is nonsense */
    /* the server's: */
    P9Server *server;
    struct P9Fid *fid;
    P9Call *next, *flushes;         /* those that wait for its end */
    uint64_t offset;
    uint32_t count;
    int result;
    uint16_t tag;
    uint8_t type;
    bool offloaded;
};

/* loop NULL (tests): everything is answered at once. */
MUST_USE Err *p9_new(FsDev *fs, Loop *loop, P9Server **out);
void p9_free(P9Server *s);                      /* nothing is in flight; NULL is fine */
void p9_call(P9Server *s, P9Call *c);
bool p9_busy(const P9Server *s);                /* calls are in flight */
void p9_forget(P9Server *s);                    /* all fids are gone: the device was reset. Nothing in flight */
unsigned p9_fids(const P9Server *s);            /* how many there are */

#endif
