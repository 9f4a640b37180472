/* SPDX-License-Identifier: MIT */
/* See cmd/sandbox.h. Left out: filters by argument beside clone's, and what io_uring does without system calls. */
#include "cmd/sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <glib.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>

#include "util/opts.h"

#define LIBRARY "libseccomp.so.2"

/* ---- the option */

Err *sandbox_parse(const char *arg, Sandbox *out)
{
    static const char *const two[] = { "allow", "deny", NULL }, *const three[] = { "allow", "deny", "children", NULL };
    static const OptDesc descs[] = {
        { "enable", OPT_BOOL, "whether there is one" },
        { "obsolete", OPT_ENUM, "calls that only old programs know", two },
        { "elevateprivileges", OPT_ENUM, "set*uid, set*gid; children: only they cannot gain any", three },
        { "spawn", OPT_ENUM, "other processes", two },
        { "resourcecontrol", OPT_ENUM, "affinity and priorities", two },
        { 0 }
    };
    Opts *o = NULL;

    TRY(opts_parse(arg, descs, "enable", &o));
    int privileges = opts_enum(o, "elevateprivileges", 0);
    *out = (Sandbox){
        .on = opts_bool(o, "enable", false),
        .no_obsolete = opts_enum(o, "obsolete", 1) == 1,
        .no_privileges = privileges == 1, .no_new_privileges = privileges != 0,
        .no_spawn = opts_enum(o, "spawn", 0) == 1,
        .no_resources = opts_enum(o, "resourcecontrol", 0) == 1,
    };
    opts_free(o);
    return NULL;
}

/* ---- the library */

typedef struct Lib {
    scmp_filter_ctx (*init)(uint32_t);
    int (*attr_set)(scmp_filter_ctx, enum scmp_filter_attr, uint32_t);
    int (*rule_add_array)(scmp_filter_ctx, uint32_t, int, unsigned, const struct scmp_arg_cmp *);
    int (*syscall_resolve_name)(const char *);
    int (*load)(scmp_filter_ctx);
    void (*release)(scmp_filter_ctx);
} Lib;

static Err *lib_open(Lib *lib)
{
    void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!h)
        return err_hint(err(ERR_UNSUPPORTED, "it needs libseccomp, which cannot be opened: %s", dlerror()),
                        "On Debian: apt install libseccomp2; or leave -sandbox away.");
#define FUNCTION(name)                                                                      \
    lib->name = (__typeof__(lib->name))dlsym(h, "seccomp_" #name);                          \
    if (!lib->name)                                                                         \
        return err(ERR_UNSUPPORTED, "%s has no function seccomp_" #name ": it is too old", LIBRARY);
    FUNCTION(init)
    FUNCTION(attr_set)
    FUNCTION(rule_add_array)
    FUNCTION(syscall_resolve_name)
    FUNCTION(load)
    FUNCTION(release)
#undef FUNCTION
    return NULL;
}

/* ---- what is given up */

/* Whatever is asked for: the host's own affairs, and other processes' memory. */
static const char *const always[] = {
    "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "swapon", "swapoff", "mount", "umount2",
    "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr", "setns", "syslog", "acct",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "quotactl", "quotactl_fd", "iopl", "ioperm",
    "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open", "add_key", "request_key", "keyctl", "nfsservctl", "vhangup",
    "afs_syscall", "break", "ftime", "getpmsg", "putpmsg", "gtty", "stty", "lock", "mpx", "prof", "profil", "security", "tuxcall", "ulimit",
    "vserver", NULL
};
static const char *const obsolete[] = {
    "readdir", "_sysctl", "bdflush", "create_module", "get_kernel_syms", "query_module", "sgetmask", "ssetmask", "sysfs", "uselib", "ustat",
    "modify_ldt", "remap_file_pages", "lookup_dcookie", "epoll_ctl_old", "epoll_wait_old", NULL
};
static const char *const privileges[] = {
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "setpgid", "setsid", "capset",
    "chroot", "unshare", NULL
};
static const char *const spawn[] = { "fork", "vfork", "execve", "execveat", NULL };
static const char *const resources[] = {
    "setpriority", "sched_setparam", "sched_setscheduler", "sched_setattr", "sched_setaffinity", "ioprio_set", NULL
};

static int deny(const Lib *lib, scmp_filter_ctx c, const char *const *names, uint32_t action)
{
    for (; *names; names++) {
        int number = lib->syscall_resolve_name(*names);

        if (number == __NR_SCMP_ERROR)
            continue;           /* the library is older than the call */
        int r = lib->rule_add_array(c, action, number, 0, NULL);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Threads stay: clone with CLONE_THREAD. clone3's flags are in memory; glibc takes clone where there is none. */
static int deny_processes(const Lib *lib, scmp_filter_ctx c)
{
    const struct scmp_arg_cmp no_thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);
    int r = deny(lib, c, spawn, SCMP_ACT_ERRNO(EPERM));

    if (!r)
        r = lib->rule_add_array(c, SCMP_ACT_ERRNO(EPERM), lib->syscall_resolve_name("clone"), 1, &no_thread);
    int clone3 = lib->syscall_resolve_name("clone3");
    if (!r && clone3 != __NR_SCMP_ERROR)
        r = lib->rule_add_array(c, SCMP_ACT_ERRNO(ENOSYS), clone3, 0, NULL);
    return r;
}

static int fill(const Lib *lib, scmp_filter_ctx c, const Sandbox *s)
{
    int r = lib->attr_set(c, SCMP_FLTATR_CTL_TSYNC, 1);

    if (!r)
        r = deny(lib, c, always, SCMP_ACT_KILL_PROCESS);
    if (!r && s->no_obsolete)
        r = deny(lib, c, obsolete, SCMP_ACT_KILL_PROCESS);
    if (!r && s->no_privileges)
        r = deny(lib, c, privileges, SCMP_ACT_KILL_PROCESS);
    if (!r && s->no_spawn)
        r = deny_processes(lib, c);
    if (!r && s->no_resources)
        r = deny(lib, c, resources, SCMP_ACT_ERRNO(EPERM));
    return r;
}

Err *sandbox_enter(const Sandbox *s)
{
    Lib lib;

    if (!s->on)
        return NULL;
    TRY(lib_open(&lib));
    if (s->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_errno(errno, "new privileges cannot be given up");
    scmp_filter_ctx c = lib.init(SCMP_ACT_ALLOW);
    int r = c ? fill(&lib, c, s) : -ENOMEM;
    if (!r)
        r = lib.load(c);
    if (c)
        lib.release(c);
    return r ? err_hint(err_errno(-r, "this host takes no filter of system calls"), "Its kernel needs CONFIG_SECCOMP_FILTER.") : NULL;
}
