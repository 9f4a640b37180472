/* SPDX-License-Identifier: MIT */
/*
 * For random-commands, loaded into the machine before everything else (LD_PRELOAD): who opens the FIFO that
 * LYRE_HEAP_FIFO names is told how many bytes of the heap are allocated, of all threads' arenas, to the byte
 * if the environment says that threads have no caches (GLIBC_TUNABLES). What nobody uses goes back to the host first.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void *serve(void *path)
{
    const struct timespec reader_leaves = { .tv_nsec = 5000000 };
    int fd;

    while ((fd = open(path, O_WRONLY | O_CLOEXEC)) >= 0) {
        malloc_trim(0);
        struct mallinfo2 m = mallinfo2();
        dprintf(fd, "%zu\n", m.uordblks + m.hblkhd);
        close(fd);
        nanosleep(&reader_leaves, NULL);
    }
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    char *path = getenv("LYRE_HEAP_FIFO");
    pthread_t t;

    unsetenv("LD_PRELOAD");             /* its children are not asked */
    if (path && !pthread_create(&t, NULL, serve, path)) {
        pthread_setname_np(t, "heap");
        pthread_detach(t);
    }
}
