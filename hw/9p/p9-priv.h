/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the 9P server.
 *
 * A fid stands for a Node: a name in the folder of another node. Only folders
 * are held open (as O_PATH), the most recent of them; a file is always reached
 * by the folder's descriptor and its one name, which is never followed when it
 * is a link. So nothing outside the root can be reached, whatever is renamed or
 * replaced meanwhile.
 */
#ifndef HW_9P_P9_PRIV_H
#define HW_9P_P9_PRIV_H

#include <glib.h>
#include <sys/stat.h>

#include "hw/9p/p9.h"
#include "util/co.h"

typedef struct P9Node P9Node;
typedef struct P9Fid P9Fid;

enum { P9_DEPTH_MOST = 256, P9_DIRS_LEAST = 600, P9_NAME_MOST = 255, P9_PINS_MOST = 4096, P9_HEADER = 7, P9_IO_HEADER = 11 };

/* ---- nodes */
struct P9Node {
    P9Node *parent;             /* held; NULL: the root, or gone */
    char *name;
    unsigned refs, depth;
    int fd;                     /* a folder's, O_PATH; -1: not open now */
    int pin;                    /* gone, but known to some fid: O_PATH; -1: none */
    uint64_t ino; uint32_t major, minor;        /* of fd */
    bool gone;                  /* removed by the guest */
    P9Node *newer, *older;      /* those with an fd, by use; the root is not among them */
};
/* How a node is reached: a name in an open folder; "" is the descriptor itself. */
typedef struct P9At { int dir; const char *name; } P9At;

GHashTable *p9_nodes_table(void);
P9Node *p9_node_root_new(int fd);
P9Node *p9_node_ref(P9Node *n);
void p9_node_unref(P9Server *s, P9Node *n);
P9Node *p9_node_child(P9Server *s, P9Node *parent, const char *name);      /* a reference */
/* Of a folder, or -errno. It stays open over one more p9_node_fd (P9_DIRS_LEAST is more than two depths), no longer. */
int p9_node_fd(P9Server *s, P9Node *n);
int p9_node_at(P9Server *s, P9Node *n, P9At *at);  /* 0 or -errno; as long as that */
/* What is there by now: a descriptor of something else is closed. */
void p9_node_seen(P9Server *s, P9Node *n, const struct statx *st);
/* The guest is about to remove or replace that name: keeps it for fids that know it. */
void p9_node_before_unlink(P9Server *s, P9Node *parent, const char *name);
void p9_node_unlinked(P9Server *s, P9Node *parent, const char *name);
void p9_node_renamed(P9Server *s, P9Node *from, const char *name, P9Node *to, const char *new_name);
void p9_nodes_close(P9Server *s);                  /* all folders' descriptors but the root's */

/* ---- fids */
typedef enum P9FidKind { FID_PATH, FID_FILE, FID_DIR, FID_XATTR_READ, FID_XATTR_WRITE } P9FidKind;
struct P9Fid {
    uint32_t id;
    unsigned refs;              /* the table's, and one for each call in flight */
    P9FidKind kind;
    P9Node *node;
    int fd;                     /* FILE, DIR; -1 */
    uint32_t uid;
    bool sync;                  /* FILE: opened to write through */
    uint64_t pos;               /* DIR: where fd is */
    /* XATTR_* */
    uint8_t *value; uint32_t len, done;
    char *xattr; uint32_t flags;
};
P9Fid *p9_fid_find(P9Server *s, uint32_t id);
int p9_fid_new(P9Server *s, uint32_t id, P9Node *n, uint32_t uid, P9Fid **out);    /* takes the reference of n, also when it fails */
int p9_fid_drop(P9Server *s, P9Fid *f);            /* out of the table; what a clunk reports */
void p9_fid_unref(P9Server *s, P9Fid *f);
void p9_fids_clear(P9Server *s);

/* ---- messages */
typedef struct P9In { uint8_t *p; uint32_t len, at; bool bad; } P9In;
uint8_t p9_in_u8(P9In *m);
uint16_t p9_in_u16(P9In *m);
uint32_t p9_in_u32(P9In *m);
uint64_t p9_in_u64(P9In *m);
char *p9_in_str(P9In *m);          /* NUL-terminated, in the message's memory; "" and bad when it is wrong */

typedef struct P9Out { uint8_t *p; uint32_t len, max; bool full; } P9Out;
void p9_out_u8(P9Out *m, uint8_t v);
void p9_out_u16(P9Out *m, uint16_t v);
void p9_out_u32(P9Out *m, uint32_t v);
void p9_out_u64(P9Out *m, uint64_t v);
void p9_out_str(P9Out *m, const char *s);
typedef struct P9Qid { uint8_t type; uint32_t version; uint64_t path; } P9Qid;
void p9_out_qid(P9Out *m, const P9Qid *q);

/* ---- the server */
struct P9Server {
    FsDev *fs;
    Loop *loop;
    P9Node *root;
    GHashTable *nodes;          /* P9Node by parent and name */
    GHashTable *fids;           /* P9Fid by id */
    P9Node *newest, *oldest; unsigned open_dirs, most_dirs;
    unsigned pins, open_files, most_files;
    uint32_t msize;             /* 0: no version was agreed on */
    P9Call *in_flight; unsigned n_in_flight;
    uint8_t *request, *reply;   /* P9_REQUEST_MOST; msize bytes */
    uint8_t *names; P9Fid *names_of; uint32_t names_at, names_len;      /* what getdents gave, not all handed on */
    struct { uint32_t major, minor; } devices[256]; unsigned n_devices; bool told_devices;
};
enum { P9_REQUEST_MOST = 32 << 10, P9_NAMES = 64 << 10 };

static inline bool mapped(const P9Server *s)
{
    return s->fs->model == FS_MAPPED_XATTR || s->fs->model == FS_MAPPED_FILE;
}
bool p9_name_ok(const P9Server *s, const char *name);      /* of something in a folder; neither "." nor ".." */
bool p9_name_hidden(const P9Server *s, const char *name);  /* our own bookkeeping */

/* ---- what the host has, as the guest shall see it (0 or -errno) */
int p9_stat(P9Server *s, P9At at, struct statx *st);
int p9_fstat(P9Server *s, P9Fid *f, struct statx *st);          /* by its open file, if it has one */
int p9_qid(P9Server *s, const struct statx *st, P9Qid *q);
int p9_qid_of(P9Server *s, uint32_t major, uint32_t minor, uint64_t ino, unsigned mode, P9Qid *q);
int p9_open(P9At at, int flags);                        /* a regular file or a folder, no other */
/* What the guest says of owner and mode, of something just made (fd: its descriptor, or -1). -1: not that. */
typedef struct P9Cred { int64_t uid, gid, mode, rdev; } P9Cred;
int p9_set_cred(P9Server *s, P9At at, const P9Cred *c);
void p9_forget_cred(P9Server *s, P9At at);              /* mapped-file: after it was removed */
int p9_rename_cred(P9Server *s, P9At from, P9At to);    /* mapped-file */
int p9_link_cred(P9Server *s, P9At from, P9At to);      /* mapped-file */
int p9_before_rmdir(P9Server *s, P9At at);              /* mapped-file */
/* Paths by which l*xattr reach it; the descriptor itself is reached without l. */
void p9_proc_path(P9At at, char path[static 64 + 256]);

/* ---- handlers: fill the reply; 0 or -errno. P9_LATER: it will be answered */
enum { P9_LATER = 1 };
typedef int P9Handler(P9Server *s, P9Call *c, P9In *in, P9Out *out);
P9Handler p9_t_attach, p9_t_walk, p9_t_clunk, p9_t_remove, p9_t_lopen, p9_t_lcreate, p9_t_getattr, p9_t_setattr, p9_t_statfs, p9_t_readlink,
    p9_t_symlink, p9_t_mknod, p9_t_mkdir, p9_t_link, p9_t_rename, p9_t_renameat, p9_t_unlinkat, p9_t_lock, p9_t_getlock, p9_t_fsync, p9_t_read,
    p9_t_write, p9_t_readdir, p9_t_xattrwalk, p9_t_xattrcreate;
int p9_xattr_commit(P9Server *s, P9Fid *f);        /* at the clunk of a XATTR_WRITE */
int p9_later(P9Server *s, P9Call *c, P9Fid *f); /* in a worker: read, write, fsync of f */
void p9_finish(P9Call *c, int result);          /* of a call that was to be answered later: bytes or -errno */

#endif
