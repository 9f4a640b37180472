/* SPDX-License-Identifier: MIT */
/*
 * For random-commands, loaded into the machine before everything else (LD_PRELOAD): to each byte that comes on the
 * descriptor LYRE_HEAP_FD it answers, as a line, how many bytes of the heap are allocated, of all threads' arenas: to the byte
 * if the environment says that threads have no caches (GLIBC_TUNABLES). What nobody uses goes back to the host first.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *serve(void *opaque)
{
    int fd = (int)(intptr_t)opaque;
    char asked;

    while (read(fd, &asked, 1) == 1) {
        malloc_trim(0);
        struct mallinfo2 m = mallinfo2();
        dprintf(fd, "%zu\n", m.uordblks + m.hblkhd);
    }
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("LYRE_HEAP_FD");
    int fd = text ? atoi(text) : -1;
    pthread_t t;

    unsetenv("LD_PRELOAD");             /* its children are not asked */
    if (text && !fcntl(fd, F_SETFD, FD_CLOEXEC) && !pthread_create(&t, NULL, serve, (void *)(intptr_t)fd)) {
        pthread_setname_np(t, "heap");
        pthread_detach(t);
    }
}
