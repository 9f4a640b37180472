/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: the entry point, files that exist only in memory,
 * and a place where nothing can be broken.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must never happen, with the input saved by libFuzzer. */
#define fuzz_must(cond, ...) \
    do { \
        if (!(cond)) { \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            abort(); \
        } \
    } while (0)

/* Every error must say something. */
static inline void fuzz_error(Err *e)
{
    if (!e)
        return;
    fuzz_must(err_text(e) && *err_text(e), "an error without a text");
    err_free(e);
}

/* A file that holds the bytes, as /proc/self/fd/N; close it by its number. */
static inline int fuzz_file(const void *bytes, size_t len, char path[32])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

/* The data as a string: NUL bytes become '?'. g_free it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *s = g_malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        s[i] = data[i] ? data[i] : '?';
    s[size] = 0;
    return s;
}

/* Does a text name files outside the current folder, or what would hang us for good reason? */
static inline bool fuzz_reaches_out(const char *text)
{
    return strchr(text, '/') || strstr(text, "..");
}

/*
 * A folder of our own, and no network where the host lets us. Corpus and
 * artifacts have absolute names, which the runner sees to.
 */
static inline void fuzz_hide(void)
{
    char *dir = g_strdup("/tmp/lyre-fuzz-XXXXXX");

    if (!g_mkdtemp(dir) || chdir(dir) < 0)
        abort();
    g_free(dir);
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        fprintf(stderr, "the network stays: no namespaces here\n");
}

/* Empties the current folder (of fuzz_hide) but for what begins with "keep". */
static inline void fuzz_tidy(void)
{
    GDir *d = g_dir_open(".", 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d)))
        if (!g_str_has_prefix(name, "keep"))
            unlink(name);
    if (d)
        g_dir_close(d);
}

#endif
