/* SPDX-License-Identifier: MIT */
/* What an operating system does all day, asked for by a Linux process. */
#include "tests/bench/bench.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULT_PAGES 256

static uint64_t system_call(uint64_t reps)
{
    uint64_t ok = 0;
    for (; reps; reps--)
        ok += syscall(SYS_getppid) >= 0;
    return ok;
}

/* First touch of fresh pages, at most FAULT_PAGES at once; repetitions are pages. */
static uint64_t page_fault(uint64_t reps)
{
    uint64_t ok = 0;
    while (reps) {
        size_t n = reps < FAULT_PAGES ? reps : FAULT_PAGES;
        volatile uint8_t *p = mmap(NULL, n * 4096, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return 0;
        for (size_t i = 0; i < n; i++)
            p[i * 4096] = 1;
        ok += p[(n - 1) * 4096];
        munmap((void *)p, n * 4096);
        reps -= n;
    }
    return ok;
}

static uint64_t fork_wait(uint64_t reps)
{
    uint64_t sum = 0;
    for (; reps; reps--) {
        int status = -1;
        pid_t child = fork();
        if (child == 0)
            _exit((int)(reps & 63));
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 0;
        sum = mix(sum, (uint64_t)WEXITSTATUS(status));
    }
    return sum;
}

/* One byte to another process and back, two context switches. */
static uint64_t pipe_turn(uint64_t reps)
{
    int to[2], from[2];
    uint64_t sum = 0;
    if (pipe(to) || pipe(from))
        return 0;
    pid_t child = fork();
    if (child == 0) {
        uint8_t c;
        close(to[1]);
        while (read(to[0], &c, 1) == 1) {
            c++;
            if (write(from[1], &c, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(to[0]);
    close(from[1]);
    for (; child > 0 && reps; reps--) {
        uint8_t c = (uint8_t)reps;
        if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
            break;
        sum = mix(sum, c);
    }
    close(to[1]);
    close(from[0]);
    waitpid(child, NULL, 0);
    return sum;
}

static volatile sig_atomic_t caught;

static void on_signal(int n)
{
    caught++;
}

static uint64_t signal_self(uint64_t reps)
{
    signal(SIGUSR1, on_signal);
    caught = 0;
    for (; reps; reps--)
        kill(getpid(), SIGUSR1);
    return (uint64_t)caught;
}

const Kernel os_kernels[] = {
    { "syscall",   "os", "call",      60000, system_call, NULL },
    { "pagefault", "os", "page",       2560, page_fault, NULL },
    { "fork",      "os", "fork + wait",  20, fork_wait, NULL },
    { "pipe",      "os", "round trip",  800, pipe_turn, NULL },
    { "signal",    "os", "signal",     1500, signal_self, NULL },
    { 0 }
};
