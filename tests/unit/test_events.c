/* SPDX-License-Identifier: MIT */
/* Events at a monitor: rate limits, and those of other threads; a client that has not negotiated hears none. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/monitor.h"
#include "system/vmconfig.h"
#include "target/isa.h"
#include "tests/unit/test.h"

typedef struct Rig { VmConfig config; Vm *vm; int fd; GString *in; } Rig;

static void must(Err *e)
{
    CHECK(!e);
    err_free(e);
}

static void lock(void *vm) { vm_lock(vm); }
static void unlock(void *vm) { vm_unlock(vm); }

static void rig_init(Rig *r)
{
    int ends[2];
    Chardev *chr = NULL;

    *r = (Rig){ .config = { .program = "test", .isa = "riscv64", .smp = -1 }, .in = g_string_new(NULL) };
    r->vm = vm_new(&r->config);
    const ChardevHost host = { .context = r->vm->main_context, .lock = lock, .unlock = unlock, .opaque = r->vm };
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    r->fd = ends[0];
    r->vm->chardevs = chardevs_new(&host);
    vm_lock(r->vm);
    g_autofree char *arg = g_strdup_printf("socket,id=m,fd=%d", ends[1]);
    must(chardev_add(r->vm->chardevs, arg, &chr));
    must(monitors_new(r->vm, NULL));
    must(monitor_add(r->vm, chr, &(MonitorConfig){ .control = true }));
    vm_unlock(r->vm);
}

static void rig_free(Rig *r)
{
    vm_lock(r->vm);
    monitors_free(r->vm);
    chardevs_free(r->vm->chardevs);
    r->vm->chardevs = NULL;
    vm_unlock(r->vm);
    vm_free(r->vm);
    close(r->fd);
    g_string_free(r->in, TRUE);
}

/* Turns the machine until `text` has come; what came before it is in r->in. */
static bool until(Rig *r, const char *text)
{
    for (int i = 0; i < 12000 && !strstr(r->in->str, text); i++) {
        struct pollfd p = { .fd = r->fd, .events = POLLIN };
        char buf[4096];

        vm_turn(r->vm, false);
        if (poll(&p, 1, 5) > 0) {
            ssize_t n = read(r->fd, buf, sizeof(buf));
            if (n <= 0)
                return false;
            g_string_append_len(r->in, buf, n);
        }
    }
    return strstr(r->in->str, text) != NULL;
}

static void say(Rig *r, const char *text)
{
    CHECK_EQ(write(r->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static int count(const Rig *r, const char *text)
{
    int n = 0;

    for (const char *at = r->in->str; (at = strstr(at, text)); at++)
        n++;
    return n;
}

static void balloon(Rig *r, int actual)
{
    vm_event(r->vm, "BALLOON_CHANGE", json_pack("{s:i}", "actual", actual));
}

/* Of those that come too fast the last one is kept until its time; others are not held up. */
static void test_rate(void)
{
    Rig r;

    rig_init(&r);
    CHECK(until(&r, "\"QMP\""));
    vm_lock(r.vm);
    vm_event(r.vm, "STOP", NULL);           /* nobody listens yet */
    vm_unlock(r.vm);
    say(&r, "{\"execute\":\"qmp_capabilities\"}");
    CHECK(until(&r, "return"));
    vm_lock(r.vm);
    for (int i = 1; i <= 5; i++)
        balloon(&r, i);
    vm_event(r.vm, "RESUME", NULL);
    vm_unlock(r.vm);
    CHECK(until(&r, "RESUME"));
    CHECK_EQ(count(&r, "STOP"), 0);
    CHECK_EQ(count(&r, "BALLOON_CHANGE"), 1);
    CHECK_EQ(count(&r, "\"actual\": 1"), 1);
    CHECK(until(&r, "\"actual\": 5"));
    CHECK_EQ(count(&r, "BALLOON_CHANGE"), 2);
    rig_free(&r);
}

/* What waits when the machine ends is dropped. */
static void test_ends(void)
{
    Rig r;

    rig_init(&r);
    say(&r, "{\"execute\":\"qmp_capabilities\"}");
    CHECK(until(&r, "return"));
    vm_lock(r.vm);
    balloon(&r, 1);
    balloon(&r, 2);
    vm_unlock(r.vm);
    CHECK(until(&r, "BALLOON_CHANGE"));
    rig_free(&r);
}

static void *raise_many(void *opaque)
{
    Rig *r = opaque;

    for (int i = 0; i < 100; i++)
        vm_event(r->vm, i == 99 ? "POWERDOWN" : "STOP", NULL);
    return NULL;
}

static void test_threads(void)
{
    Rig r;
    pthread_t t;

    rig_init(&r);
    say(&r, "{\"execute\":\"qmp_capabilities\"}");
    CHECK(until(&r, "return"));
    CHECK_EQ(pthread_create(&t, NULL, raise_many, &r), 0);
    CHECK(until(&r, "POWERDOWN"));
    pthread_join(t, NULL);
    CHECK_EQ(count(&r, "STOP"), 99);        /* in order: none comes later */
    rig_free(&r);
}

int main(void)
{
    RUN(test_rate);
    RUN(test_ends);
    RUN(test_threads);
    return test_end();
}
