/* SPDX-License-Identifier: MIT */
/*
 * Folders of the host that guests may see: the arguments of -fsdev and -virtfs.
 */
#ifndef HW_9P_FSDEV_H
#define HW_9P_FSDEV_H

#include "system/vm.h"

typedef enum FsModel {
    FS_PASSTHROUGH,     /* owners and modes are the host's own; what the host refuses is refused */
    FS_MAPPED_XATTR,    /* owners, modes and kinds of files are kept in extended attributes user.virtfs.* */
    FS_MAPPED_FILE,     /* or in files in .virtfs_metadata folders, which the guest does not see */
    FS_NONE,            /* as passthrough, but a change of owner that the host refuses is no error */
} FsModel;

typedef enum FsMultidevs { FS_REMAP, FS_FORBID, FS_WARN } FsMultidevs;

typedef struct FsDev {
    char *id, *path;
    FsModel model;
    bool readonly;
    bool writeout;              /* writeout=immediate: written data goes to the disk at once */
    unsigned fmode, dmode;      /* of the host's files and folders, with a mapped model */
    FsMultidevs multidevs;      /* several file systems of the host below the folder */
    bool used;                  /* a device has it */
} FsDev;

/* The argument of -fsdev. Kept in the machine until fsdevs_free. */
MUST_USE Err *fsdev_add(Vm *vm, const char *arg);
MUST_USE Err *fsdev_find(Vm *vm, const char *id, FsDev **out);
void fsdevs_free(Vm *vm);
/* -virtfs is a -fsdev and a -device in one: their two arguments, g_free them. n: how many came before. */
MUST_USE Err *virtfs_split(const char *arg, unsigned n, char **fsdev, char **device);

#endif
