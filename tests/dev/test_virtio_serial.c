/* SPDX-License-Identifier: MIT */
/*
 * virtio-serial by its rings: messages about ports, bytes both ways with the
 * host slow or the guest slow, hotplug, the emergency byte, old drivers, nonsense.
 */
#define RIG_HARTS 1
#include "tests/dev/events.h"
#include "tests/dev/vdriver.h"

#include <fcntl.h>
#include <sys/socket.h>

enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME, MULTI = 2, PAGE = 4096 };

typedef struct Box {
    Rig r;
    Vd d;
    int fd;                     /* the host's end of the chardev "c" */
    uint64_t control, buf;
} Box;

static void box_make(Box *b, const char *props)
{
    int fds[2];

    *b = (Box){ 0 };
    rig_init(&b->r);
    ChardevHost host = { .context = b->r.vm->main_context };
    b->r.vm->chardevs = chardevs_new(&host);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    b->r.cpus[0].standing = true;
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    b->fd = fds[0];
    fcntl(b->fd, F_SETFL, O_NONBLOCK);
    g_autofree char *arg = g_strdup_printf("socket,id=c,fd=%d", fds[1]);
    rig_must(chardev_add(b->r.vm->chardevs, arg, NULL));
    rig_must(chardev_add(b->r.vm->chardevs, "ringbuf,id=ring", NULL));
    g_autofree char *dev = g_strdup_printf("virtio-serial-device,id=ser%s", props);
    vd_attach(&b->d, &b->r, dev);
}

static void box_free(Box *b)
{
    static const char *const ids[] = { "p0", "p1", "p2" };

    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        Device *p = device_find(b->r.vm, ids[i]);

        if (p)
            device_free(p);
    }
    vd_detach(&b->d);
    Chardevs *set = b->r.vm->chardevs;
    board_free(b->r.vm);
    chardevs_free(set);
    rig_free(&b->r);
    close(b->fd);
}

static void turn(Box *b)
{
    rig_work(&b->r);
    rig_turn(&b->r, 2);
}

/* Says it on the control queue. */
static void say(Box *b, uint32_t id, uint16_t event, uint16_t value)
{
    uint64_t at = vd_alloc(&b->d, 8);
    uint8_t *m = vd_host(&b->d, at, 8);

    memcpy(m, &id, 4);
    memcpy(m + 4, &event, 2);
    memcpy(m + 6, &value, 2);
    vd_add(&b->d, 3, &(VdBuf){ at, 8, false }, 1, b);
    vd_kick(&b->d, 3);
    turn(b);
    CHECK(vd_used(&b->d, 3, 100, NULL));
}

/* The next message to the driver, "id event value data"; g_free it. */
static char *hear(Box *b)
{
    uint32_t len = 0, id;
    uint16_t event, value;

    turn(b);
    uint8_t *m = vd_used(&b->d, 2, 0, &len);
    if (!m)
        return g_strdup("nothing");
    memcpy(&id, m, 4);
    memcpy(&event, m + 4, 2);
    memcpy(&value, m + 6, 2);
    return g_strdup_printf("%u %u %u %.*s", id, event, value, (int)len - 8, m + 8);
}

static void expect(Box *b, const char *want)
{
    g_autofree char *got = hear(b);

    CHECK_STR(got, want);
}

static void give_control(Box *b, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t at = vd_alloc(&b->d, 64);

        vd_add(&b->d, 2, &(VdBuf){ at, 64, true }, 1, vd_host(&b->d, at, 64));
    }
    vd_kick(&b->d, 2);
}

static void box_start(Box *b, bool multi)
{
    vd_start(&b->d, multi ? MULTI : 0, 8, 32);
    b->buf = vd_alloc(&b->d, 64 * PAGE);
    if (multi)
        give_control(b, 30);
}

static void plug(Box *b, const char *arg)
{
    rig_must(device_add(b->r.vm, arg));
    turn(b);
}

static void transmit(Box *b, unsigned q, const char *text, unsigned slot)
{
    uint64_t at = b->buf + slot * PAGE;

    memcpy(vd_host(&b->d, at, PAGE), text, strlen(text));
    vd_add(&b->d, q, (VdBuf[]){ { at, 1, false }, { at + 1, strlen(text) - 1, false } }, 2, b);
    vd_kick(&b->d, q);
    turn(b);
}

static void give(Box *b, unsigned q, uint32_t len, unsigned slot)
{
    uint64_t at = b->buf + slot * PAGE;

    vd_add(&b->d, q, &(VdBuf){ at, len, true }, 1, vd_host(&b->d, at, PAGE));
    vd_kick(&b->d, q);
    turn(b);
}

static void test_agent(void)
{
    Box b;
    char text[100];
    uint32_t len = 0;

    box_make(&b, "");
    plug(&b, "virtserialport,id=p1,bus=ser.0,chardev=c,name=org.qemu.guest_agent.0");
    box_start(&b, true);
    CHECK_EQ(virtio_config_read(b.d.v, 4, 4), 31);
    say(&b, 0xffffffff, READY, 1);
    expect(&b, "1 1 1 ");
    say(&b, 1, PORT_READY, 1);
    expect(&b, "1 7 1 org.qemu.guest_agent.0");
    expect(&b, "1 6 1 ");
    expect(&b, "nothing");
    /* Nothing comes in before the guest has opened it. */
    CHECK_EQ(write(b.fd, "early", 5), 5);
    give(&b, 4, 3, 0);
    CHECK(!vd_used(&b.d, 4, 5, &len));
    Events ev;
    Chardev *chr = chardev_next(b.r.vm->chardevs, NULL);
    events_listen(&ev, b.r.vm);
    CHECK(chardev_bound(chr) && !chardev_in_use(chr));
    say(&b, 1, OPEN, 1);
    turn(&b);
    CHECK(chardev_in_use(chr));
    uint8_t *got = vd_used(&b.d, 4, 100, &len);
    CHECK(got && len == 3 && !memcmp(got, "ear", 3));
    give(&b, 4, 100, 1);
    got = vd_used(&b.d, 4, 100, &len);
    CHECK(got && len == 2 && !memcmp(got, "ly", 2));
    transmit(&b, 5, "{\"ping\"}", 2);
    CHECK(vd_used(&b.d, 5, 100, NULL));
    CHECK_EQ(read(b.fd, text, sizeof(text)), 8);
    CHECK(!memcmp(text, "{\"ping\"}", 8));
    say(&b, 1, OPEN, 1);                    /* open already: no news */
    say(&b, 1, OPEN, 0);
    turn(&b);
    g_autofree char *told = events_take(&ev);
    CHECK_STR(told, "VSERPORT_CHANGE {\"id\":\"p1\",\"open\":true}\nVSERPORT_CHANGE {\"id\":\"p1\",\"open\":false}\n");
    events_end(&ev, b.r.vm);
    CHECK_EQ(write(b.fd, "later", 5), 5);
    give(&b, 4, 100, 1);
    CHECK(!vd_used(&b.d, 4, 5, &len));
    say(&b, 1, OPEN, 1);
    turn(&b);
    CHECK(vd_used(&b.d, 4, 100, &len) && len == 5);
    close(b.fd);
    turn(&b);
    expect(&b, "1 6 0 ");
    transmit(&b, 5, "lost", 2);
    CHECK(vd_used(&b.d, 5, 100, NULL));
    b.fd = open("/dev/null", O_RDWR);
    box_free(&b);
}

/* The host reads nothing: buffers stay with us, none is lost, and it goes on. */
static void test_slow_host(void)
{
    Box b;
    long sent = 0, got = 0, back = 0;
    bool good = true;
    char buf[PAGE];

    box_make(&b, "");
    plug(&b, "virtserialport,id=p1,bus=ser.0,chardev=c,name=x");
    box_start(&b, true);
    say(&b, 0, READY, 1);
    say(&b, 1, OPEN, 1);
    for (unsigned round = 0;; round++) {
        unsigned slot = round % 16;
        uint8_t *p = vd_host(&b.d, b.buf + slot * PAGE, PAGE);

        if (round >= 16) {              /* a slot is free when its buffer came back */
            if (!vd_used(&b.d, 5, 5, NULL))
                break;
            back++;
        }
        for (int i = 0; i < PAGE; i++)
            p[i] = (sent + i) % 251;
        vd_add(&b.d, 5, &(VdBuf){ b.buf + slot * PAGE, PAGE, false }, 1, &b);
        vd_kick(&b.d, 5);
        sent += PAGE;
        rig_turn(&b.r, 0);
        CHECK(round < 10000);
    }
    CHECK(back > 0);
    for (int idle = 0; got < sent && idle < 1000; idle++) {
        ssize_t n;

        while ((n = read(b.fd, buf, sizeof(buf))) > 0) {
            for (ssize_t i = 0; i < n; i++)
                good &= (uint8_t)buf[i] == (got + i) % 251;
            got += n;
            idle = 0;
        }
        rig_turn(&b.r, 0);
    }
    CHECK(good);
    CHECK_EQ(got, sent);
    while (vd_used(&b.d, 5, 5, NULL))
        back++;
    CHECK_EQ(back, sent / PAGE);
    /* A reset while one is kept. */
    for (int i = 0; i < 200; i++) {
        vd_add(&b.d, 5, &(VdBuf){ b.buf, PAGE, false }, 1, &b);
        vd_kick(&b.d, 5);
        rig_turn(&b.r, 0);
        if (!vd_used(&b.d, 5, 1, NULL))
            break;
    }
    box_start(&b, true);
    while (read(b.fd, buf, sizeof(buf)) > 0)
        ;
    turn(&b);
    transmit(&b, 5, "after", 0);
    CHECK(vd_used(&b.d, 5, 100, NULL));
    box_free(&b);
}

static void test_console(void)
{
    Box b;
    char text[10];
    uint8_t ring[10];
    Chardev *c = NULL;

    box_make(&b, "");
    plug(&b, "virtserialport,id=p1,bus=ser.0,name=first");
    plug(&b, "virtconsole,id=p0,bus=ser.0,chardev=c");
    plug(&b, "virtconsole,id=p2,bus=ser.0,chardev=ring");
    box_start(&b, true);
    virtio_config_write(b.d.v, 8, '!', 4);              /* before any driver, if it likes */
    CHECK_EQ(read(b.fd, text, sizeof(text)), 1);
    CHECK_EQ(text[0], '!');
    say(&b, 0, READY, 1);
    expect(&b, "0 1 1 ");
    expect(&b, "1 1 1 ");
    expect(&b, "2 1 1 ");
    say(&b, 0, PORT_READY, 1);
    expect(&b, "0 4 1 ");
    expect(&b, "0 6 1 ");
    transmit(&b, 1, "to zero", 0);
    CHECK_EQ(read(b.fd, text, sizeof(text)), 7);
    transmit(&b, 7, "to two", 0);
    rig_must(chardev_find(b.r.vm->chardevs, "ring", &c));
    CHECK_EQ(chardev_ring_read(c, ring, sizeof(ring)), 6);
    CHECK_EQ(b.d.config_changes, 0);
    box_free(&b);
}

/* One port, no messages: open while there is a driver. */
static void test_old_driver(void)
{
    Box b;
    char text[10];
    uint32_t len;

    box_make(&b, ",max_ports=1");
    CHECK(!(b.d.v->offered & MULTI));
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,chardev=c"), "taken"));
    plug(&b, "virtconsole,id=p0,bus=ser.0,chardev=c");
    vd_start(&b.d, 0, 2, 32);
    b.buf = vd_alloc(&b.d, 64 * PAGE);
    CHECK_EQ(write(b.fd, "in", 2), 2);
    give(&b, 0, 100, 0);
    CHECK(vd_used(&b.d, 0, 100, &len) && len == 2);
    transmit(&b, 1, "out", 1);
    CHECK_EQ(read(b.fd, text, sizeof(text)), 3);
    box_free(&b);
}

static void test_hotplug(void)
{
    Box b;

    box_make(&b, "");
    box_start(&b, true);
    say(&b, 0, READY, 1);
    expect(&b, "nothing");
    for (int i = 0; i < 5; i++) {
        plug(&b, "virtserialport,id=p1,bus=ser.0,chardev=c,name=x,nr=3");
        expect(&b, "3 1 1 ");
        say(&b, 3, PORT_READY, 1);
        expect(&b, "3 7 1 x");
        expect(&b, "3 6 1 ");
        say(&b, 3, OPEN, 1);
        rig_must(device_del(b.r.vm, "p1"));
        for (int n = 0; n < 500 && device_find(b.r.vm, "p1"); n++)
            turn(&b);
        expect(&b, "3 2 1 ");
        say(&b, 3, OPEN, 0);            /* it did not know yet */
    }
    box_free(&b);
}

static void test_wrong(void)
{
    Box b;

    box_make(&b, ",max_ports=3");
    plug(&b, "virtserialport,id=p1,bus=ser.0,chardev=c,name=x");
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,nr=1"), "taken"));
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,nr=0"), "virtconsole"));
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,nr=3"), "below 3"));
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,chardev=c"), "another device"));
    CHECK(rig_says(device_add(b.r.vm, "virtserialport,bus=ser.0,chardev=nope"), "nope"));
    box_start(&b, true);
    say(&b, 77, PORT_READY, 1);
    say(&b, 2, OPEN, 1);
    say(&b, 1, 99, 1);
    say(&b, 1, RESIZE, 1);
    expect(&b, "nothing");
    vd_add(&b.d, 3, &(VdBuf){ b.buf, 5, false }, 1, &b);       /* too short */
    vd_kick(&b.d, 3);
    turn(&b);
    CHECK(vd_used(&b.d, 3, 100, NULL));
    give(&b, 4, 0, 0);
    vd_add(&b.d, 7, &(VdBuf){ b.buf, 5, false }, 1, &b);       /* a port that is not there */
    vd_kick(&b.d, 7);
    turn(&b);
    CHECK(vd_used(&b.d, 7, 100, NULL));
    for (int i = 0; i < 100; i++)                             /* says so again and again, and hears nothing */
        say(&b, 0, READY, 1);
    box_free(&b);
}

int main(void)
{
    RUN(test_agent);
    RUN(test_slow_host);
    RUN(test_console);
    RUN(test_old_driver);
    RUN(test_hotplug);
    RUN(test_wrong);
    return test_end();
}
