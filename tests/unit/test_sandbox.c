/* SPDX-License-Identifier: MIT */
/*
 * cmd/sandbox.h: what a process can still do, tried in one that has entered; and the option's syntax. A host without
 * libseccomp, or whose own filter is in the way, is told by the error.
 */
#include "tests/unit/test.h"
#include "cmd/sandbox.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFUSED = 90, DONE, CANNOT };
static bool available = true;

static void *nothing(void *opaque)
{
    return opaque;
}

/* What `fn` comes to in a process that has entered: DONE, REFUSED (EPERM), or minus the signal that ended it. */
static int try(const char *option, long (*fn)(void))
{
    Sandbox s;
    int status;

    Err *e = sandbox_parse(option, &s);
    CHECK(!e);
    err_free(e);
    pid_t child = fork();
    if (!child) {
        signal(SIGSYS, SIG_DFL);        /* sanitizers have a handler; it would not help */
        if (sandbox_enter(&s))
            _exit(CANNOT);
        errno = 0;
        long r = fn();
        _exit(r < 0 && (errno == EPERM || errno == EAGAIN) ? REFUSED : DONE);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static long do_nothing(void) { return 0; }
static long do_swapoff(void) { return swapoff("/nowhere"); }
static long do_fork(void) { pid_t p = fork(); if (!p) _exit(0); return p; }
static long do_vfork(void) { return syscall(SYS_vfork); }
static long do_exec(void) { return execl("/bin/true", "true", (char *)NULL); }
static long do_setuid(void) { return setuid(getuid()); }
static long do_priority(void) { return setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0)); }
static long do_sysfs(void) { return syscall(SYS_sysfs, 3); }

static long do_thread(void)
{
    pthread_t t;

    if (pthread_create(&t, NULL, nothing, NULL))
        return -1;
    return pthread_join(t, NULL);
}

static long do_affinity(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) ? -1 : sched_setaffinity(0, sizeof(set), &set);
}

static void test_filters(void)
{
    static const char all[] = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    static const char few[] = "on,obsolete=allow,elevateprivileges=allow,spawn=allow,resourcecontrol=allow";

    if (try("on", do_nothing) == CANNOT) {
        available = false;
        return;
    }
    CHECK_EQ(try(all, do_swapoff), -SIGSYS);
    CHECK_EQ(try(few, do_swapoff), -SIGSYS);
    CHECK_EQ(try("off", do_thread), DONE);
    CHECK_EQ(try(all, do_thread), DONE);
    CHECK_EQ(try(all, do_fork), REFUSED);
    CHECK_EQ(try(all, do_vfork), REFUSED);
    CHECK_EQ(try(all, do_exec), REFUSED);
    CHECK_EQ(try(few, do_fork), DONE);
    CHECK_EQ(try(all, do_setuid), -SIGSYS);
    CHECK_EQ(try(few, do_setuid), DONE);
    CHECK_EQ(try("on,elevateprivileges=children", do_setuid), DONE);
    CHECK_EQ(try(all, do_affinity), REFUSED);
    CHECK_EQ(try(all, do_priority), REFUSED);
    CHECK_EQ(try(few, do_affinity), DONE);
    CHECK_EQ(try("on", do_sysfs), -SIGSYS);
    CHECK_EQ(try(few, do_sysfs), DONE);
}

static void test_option(void)
{
    static const char *const wrong[] = { "perhaps", "on,spawn=children", "on,obsolete=yes", "on,elevateprivileges=", "on,network=deny" };
    Sandbox s;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        Err *e = sandbox_parse(wrong[i], &s);

        CHECK(e && *err_text(e));
        err_free(e);
    }
    Err *e = sandbox_parse("enable=on,spawn=deny", &s);
    CHECK(!e && s.on && s.no_spawn && s.no_obsolete && !s.no_privileges && !s.no_new_privileges && !s.no_resources);
    err_free(e);
    e = sandbox_parse("enable=off,elevateprivileges=children", &s);
    CHECK(!e && !s.on && !s.no_privileges && s.no_new_privileges);
    err_free(e);
}

int main(void)
{
    RUN(test_option);
    RUN(test_filters);
    int status = test_end();
    return status || available ? status : 77;
}
