/* SPDX-License-Identifier: MIT */
/*
 * chardev/: what has a terminal's manners: ptys and their links, host serial lines,
 * the mux's commands and focus. The terminal's mode is tested by test_term.
 */
#include "tests/unit/chardev-rig.h"

static void test_pty(void)
{
    Chardevs *set = new_set();
    Dev *d = dev_on(set, "pty", 1000);
    char *name = chardev_filename(d->port.chr);

    CHECK(g_str_has_prefix(name, "pty:/dev/"));
    loop(5);
    CHECK_EQ(chr_write(&d->port, "lost", 4), 4);
    for (int round = 1; round <= 2; round++) {
        int fd = open(name + 4, O_RDWR | O_NOCTTY);

        CHECK(fd >= 0);
        LOOP_UNTIL(d->opened == round);
        CHECK_EQ(chr_write(&d->port, "hello\n", 6), 6);
        expect_read(fd, "hello\n", 6);          /* raw: no \r came in */
        CHECK_EQ(write(fd, "\x03" "a\r", 3), 3);
        LOOP_UNTIL(d->got->len == 3u * round);
        close(fd);
        LOOP_UNTIL(d->closed == round);
    }
    CHECK_STR(d->got->str, "\x03" "a\r\x03" "a\r");
    g_free(name);
    dev_free(d);
    chardevs_free(set);
}

static void test_pty_link(void)
{
    char *link = in_dir("%s", "link"), *arg = in_dir("pty:%s", "link");

    CHECK(!symlink("/dev/pts/9999", link));         /* left from one that died */
    Chardevs *set = new_set();
    Dev *d = dev_on(set, arg, 100);
    int fd = open(link, O_RDWR | O_NOCTTY);
    CHECK(fd >= 0);
    LOOP_UNTIL(d->opened == 1);
    CHECK_EQ(write(fd, "x", 1), 1);
    LOOP_UNTIL(d->got->len == 1);
    close(fd);
    dev_free(d);
    chardevs_free(set);
    CHECK(access(link, F_OK) < 0);
    CHECK(g_file_set_contents(link, "mine", -1, NULL));
    wrong(true, arg, "File exists", NULL);
    g_free(arg);
    g_free(link);
}

/* A terminal stands for the host's serial port. */
static void test_host_serial(void)
{
    Chardevs *set = new_set();
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios was, now;
    char name[100];

    CHECK(!grantpt(master) && !unlockpt(master) && !ptsname_r(master, name, sizeof(name)));
    int slave = open(name, O_RDWR | O_NOCTTY);
    tcgetattr(slave, &was);
    Dev *d = dev_on(set, name, 100);
    tcgetattr(slave, &now);
    CHECK((was.c_lflag & ICANON) && !(now.c_lflag & (ICANON | ECHO)) && cfgetospeed(&now) == B115200);
    CHECK_EQ(write(master, "a\x03\r", 3), 3);
    LOOP_UNTIL(d->got->len == 3);
    CHECK_EQ(chr_write(&d->port, "b\n", 2), 2);
    expect_read(master, "b\n", 2);
    dev_free(d);
    chardevs_free(set);
    tcgetattr(slave, &now);
    CHECK(now.c_lflag == was.c_lflag && now.c_cflag == was.c_cflag);
    close(slave);
    close(master);
}

/* ---- mux ------------------------------------------------------------------------------ */

typedef struct MuxTest {
    Chardevs *set;
    Chardev *mux;
    int fd;                     /* the user's end */
} MuxTest;

static void mux_start(MuxTest *t)
{
    char *arg = in_dir("socket,id=m,mux=on,server=on,wait=off,path=%s", "mux"), *path = in_dir("%s", "mux");

    t->set = new_set();
    no_err(chardev_add(t->set, arg, &t->mux));
    t->fd = connect_unix(path);
    g_free(arg);
    g_free(path);
}

static void mux_end(MuxTest *t)
{
    close(t->fd);
    chardevs_free(t->set);
}

static void type(MuxTest *t, const char *text)
{
    CHECK_EQ(write(t->fd, text, strlen(text)), strlen(text));
}

/* All that comes to the user within a moment. */
static char *seen(MuxTest *t)
{
    static char buf[5000];
    int n = 0, r;

    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 20; i++) {
        loop(1);
        while ((r = read(t->fd, buf + n, sizeof(buf) - 1 - n)) > 0)
            n += r;
    }
    buf[n] = 0;
    return buf;
}

static void test_mux_commands(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *d = new_dev(t.mux, 1000);
    LOOP_UNTIL(d->opened >= 1);
    type(&t, "a\x01\x01" "b\x01zc\x01" "b");
    LOOP_UNTIL(d->breaks == 1);
    CHECK_STR(d->got->str, "a\x01" "bc");
    type(&t, "\x01h");
    CHECK(strstr(seen(&t), "Ctrl-A x    end the emulator"));
    type(&t, "\x01");
    loop(5);
    type(&t, "c");              /* the two bytes come apart */
    CHECK(strstr(seen(&t), "no other console"));
    CHECK_EQ(quits, 0);
    type(&t, "\x01x");
    LOOP_UNTIL(quits == 1);
    CHECK_STR(d->got->str, "a\x01" "bc");
    quits = 0;
    dev_free(d);
    mux_end(&t);
}

static void test_mux_focus(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *a = new_dev(t.mux, 0), *b = new_dev(t.mux, 100);
    LOOP_UNTIL(a->opened >= 1 && b->opened >= 1);
    type(&t, "first\x01" "csecond\x01x");   /* a reads nothing: commands work all the same */
    LOOP_UNTIL(quits == 1);
    quits = 0;
    CHECK_STR(b->got->str, "second");
    CHECK_STR(a->got->str, "");
    a->room = 3;
    chr_accept_input(&a->port);
    CHECK_STR(a->got->str, "fir");
    a->room = 100;
    chr_accept_input(&a->port);
    CHECK_STR(a->got->str, "first");
    CHECK_EQ(chr_write(&a->port, "A", 1) + chr_write(&b->port, "B", 1), 2);
    CHECK(strstr(seen(&t), "AB"));
    dev_free(b);
    type(&t, "x");
    LOOP_UNTIL(a->got->len == 6);
    dev_free(a);
    type(&t, "nobody\x01x");
    LOOP_UNTIL(quits == 1);
    quits = 0;
    mux_end(&t);
}

static void test_mux_times(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *d = new_dev(t.mux, 100);
    LOOP_UNTIL(d->opened >= 1);
    type(&t, "\x01t");
    CHECK(strstr(seen(&t), "times on"));
    CHECK_EQ(chr_write(&d->port, "one\ntw", 6), 6);
    CHECK_EQ(chr_write(&d->port, "o\n", 2), 2);
    const char *s = seen(&t);
    CHECK(strstr(s, "[00:00:00.") == s && strstr(s, "] one\n[00:00:00.") && strstr(s, "] two\n"));
    type(&t, "\x01t");
    CHECK(strstr(seen(&t), "times off"));
    CHECK_EQ(chr_write(&d->port, "plain\n", 6), 6);
    CHECK_STR(seen(&t), "plain\n");
    dev_free(d);
    mux_end(&t);
}

int main(void)
{
    rig_begin();
    RUN(test_pty);
    RUN(test_pty_link);
    RUN(test_mux_commands);
    RUN(test_mux_focus);
    RUN(test_mux_times);
    RUN(test_host_serial);
    return rig_end();
}
