/* SPDX-License-Identifier: MIT */
/*
 * chardev/: the backends without another end, flow control both ways, and the
 * errors of wrong arguments. Sockets are test_chardev_sockets', terminals
 * test_chardev_term's.
 */
#include "tests/unit/chardev-rig.h"
#include "util/fdset.h"

static void test_null(void)
{
    Chardevs *set = new_set();
    Dev *d = dev_on(set, "null", 10);

    CHECK_EQ(chr_write(&d->port, "abc", 3), 3);
    LOOP_UNTIL(d->opened == 1);
    CHECK(chr_is_open(&d->port));
    dev_free(d);
    d = dev_on(set, "none", 10);
    CHECK(d->port.chr == NULL && !chr_is_open(&d->port));
    CHECK_EQ(chr_write(&d->port, "abc", 3), 3);
    chr_accept_input(&d->port);
    dev_free(d);
    chardevs_free(set);
}

static void test_file(void)
{
    Chardevs *set = new_set();
    char *path = in_dir("%s", "out,put"), *arg = in_dir("file:%s", "out,put");
    Dev *d = dev_on(set, arg, 0);

    CHECK_EQ(chr_write(&d->port, "hello\n", 6), 6);
    chardevs_free(set);
    dev_free((d->port.chr = NULL, d));
    char *text = contents(path);
    CHECK_STR(text, "hello\n");
    g_free(text);
    g_free(arg);
    set = new_set();
    Chardev *c = NULL;
    arg = g_strdup_printf("file,id=f,path=%s/out,,put,append=on", dir);
    no_err(chardev_add(set, arg, &c));
    g_free(arg);
    d = new_dev(c, 0);
    CHECK_EQ(chr_write(&d->port, "more\n", 5), 5);
    dev_free(d);
    text = contents(path);
    CHECK_STR(text, "hello\nmore\n");
    g_free(text);
    arg = g_strdup_printf("null,id=l,logfile=%s/log", dir);
    no_err(chardev_add(set, arg, &c));
    d = new_dev(c, 0);
    CHECK_EQ(chr_write(&d->port, "copy", 4), 4);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    arg = g_strdup_printf("%s/log", dir);
    text = contents(arg);
    CHECK_STR(text, "copy");
    g_free(text);
    g_free(arg);
    g_free(path);
}

static void test_ringbuf(void)
{
    Chardevs *set = new_set();
    Chardev *c = NULL, *null = NULL;
    uint8_t buf[64];

    no_err(chardev_add(set, "ringbuf,id=r,size=16", &c));
    no_err(chardev_add(set, "null,id=n", &null));
    Dev *d = new_dev(c, 10);
    CHECK_EQ(chr_write(&d->port, "0123456789", 10), 10);
    CHECK_EQ(chardev_ring_read(c, buf, 3), 3);
    CHECK(!memcmp(buf, "012", 3));
    CHECK_EQ(chardev_ring_write(c, (uint8_t *)"abcdefghijkl", 12), 12);
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 16);
    CHECK(!memcmp(buf, "6789abcdefghijkl", 16));
    CHECK_EQ(chr_write(&d->port, "the last sixteen bytes", 22), 22);
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 16);
    CHECK(!memcmp(buf, "st sixteen bytes", 16));
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 0);
    CHECK_EQ(chardev_ring_read(null, buf, sizeof(buf)), -1);
    dev_free(d);
    chardevs_free(set);
}

/* A file that somebody opened for us, as a backend's output and as a log. */
static void test_fdset(void)
{
    FdSets *fds = fdsets_new();
    ChardevHost h = { .context = ctx, .fdsets = fds };
    char *path = in_dir("%s", "given"), *log = in_dir("%s", "given-log");
    Chardev *c = NULL;

    no_err(fdsets_add(fds, 3, open(path, O_WRONLY | O_CREAT, 0600), NULL, NULL));
    no_err(fdsets_add(fds, 4, open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), NULL, NULL));
    Chardevs *set = chardevs_new(&h);
    no_err(chardev_add(set, "file,id=f,path=/dev/fdset/3,append=on,logfile=/dev/fdset/4,logappend=on", &c));
    Dev *d = new_dev(c, 0);
    CHECK_EQ(chr_write(&d->port, "given\n", 6), 6);
    dev_free(d);
    Err *absent = chardev_add(set, "file,id=g,path=/dev/fdset/5", &c);
    CHECK(absent && strstr(err_text(absent), "'/dev/fdset/5'") && strstr(err_hint_text(absent), "-add-fd"));
    err_free(absent);
    Err *unfit = chardev_add(set, "file,id=g,path=/dev/null,input-path=/dev/fdset/3", &c);
    CHECK(unfit && strstr(err_hint_text(unfit), "this way of access"));
    err_free(unfit);
    chardevs_free(set);
    char *text = contents(path), *logged = contents(log);
    CHECK_STR(text, "given\n");
    CHECK_STR(logged, "given\n");
    g_free(text);
    g_free(logged);
    g_free(path);
    g_free(log);
    fdsets_free(fds);
}

static void test_file_input(void)
{
    Chardevs *set = new_set();
    char *in = in_dir("%s", "input");
    Chardev *c = NULL;

    CHECK(g_file_set_contents(in, "typed before", -1, NULL));
    char *arg = g_strdup_printf("file,id=f,path=%s.out,input-path=%s", in, in);
    no_err(chardev_add(set, arg, &c));
    Dev *d = new_dev(c, 5);
    LOOP_UNTIL(d->got->len == 5);
    d->room = 100;
    chr_accept_input(&d->port);
    LOOP_UNTIL(d->got->len == 12);
    loop(5);                                /* its end is no end of output */
    CHECK_EQ(chr_write(&d->port, "out", 3), 3);
    CHECK_STR(d->got->str, "typed before");
    CHECK_EQ(d->closed, 0);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    arg = g_strconcat(in, ".out", NULL);
    char *text = contents(arg);
    CHECK_STR(text, "out");
    g_free(text);
    g_free(arg);
    g_free(in);
}

/* ---- flow control, over FIFOs ------------------------------------------------------ */

static char *make_fifos(const char *name, int *to, int *from)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *in = g_strconcat(path, ".in", NULL), *out = g_strconcat(path, ".out", NULL);

    CHECK(!mkfifo(in, 0600) && !mkfifo(out, 0600));
    *to = open(in, O_RDWR | O_NONBLOCK);
    *from = open(out, O_RDWR | O_NONBLOCK);
    g_free(in);
    g_free(out);
    char *arg = g_strconcat("pipe:", path, NULL);
    g_free(path);
    return arg;
}

static void test_input_flow(void)
{
    enum { ALL = 30000 };
    Chardevs *set = new_set();
    int to, from, sent = 0;
    char *arg = make_fifos("flow-in", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    char text[ALL];

    for (int i = 0; i < ALL; i++)
        text[i] = 'a' + i % 23;
    sent = write(to, text, ALL);
    CHECK_EQ(sent, ALL);
    loop(20);
    CHECK_EQ(d->got->len, 0);               /* no room: not a byte is read */
    while (d->got->len < ALL) {
        gsize before = d->got->len;

        d->room = 1 + before % 37;
        chr_accept_input(&d->port);
        LOOP_UNTIL(d->got->len > before);
        if (d->got->len == before)
            break;
    }
    CHECK(d->got->len == ALL && !memcmp(d->got->str, text, ALL));
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    close(to);
    close(from);
}

static void test_output_flow(void)
{
    Chardevs *set = new_set();
    int to, from, n, sent = 0, got = 0;
    char *arg = make_fifos("flow-out", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    uint8_t buf[1000];
    bool good = true;

    for (;;) {
        for (int i = 0; i < 1000; i++)
            buf[i] = (sent + i) % 251;
        n = chr_write(&d->port, buf, 1000);
        sent += n;
        if (n < 1000)
            break;
    }
    CHECK(sent > 100000 && sent < 1000000);     /* the pipe's and the bound */
    CHECK_EQ(chr_write(&d->port, buf, 1), 0);
    CHECK_EQ(d->writable, 0);
    while (got < sent && (loop(1), n = read(from, buf, sizeof(buf))) > 0) {
        for (int i = 0; i < n; i++)
            good &= buf[i] == (got + i) % 251;
        got += n;
    }
    CHECK(good);
    CHECK_EQ(got, sent);
    CHECK_EQ(d->writable, 1);
    CHECK_EQ(chr_write(&d->port, "x", 1), 1);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    close(to);
    close(from);
}

/* What is still queued when the machine ends is written out. */
static gpointer slow_reader(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque), all = 0, n;
    char buf[4096];

    for (int idle = 0; idle < 200; idle++) {
        g_usleep(2000);
        while ((n = read(fd, buf, sizeof(buf))) > 0) {
            all += n;
            idle = 0;
            g_usleep(200);
        }
    }
    return GINT_TO_POINTER(all);
}

static void test_flush_at_end(void)
{
    Chardevs *set = new_set();
    int to, from, sent = 0, n;
    char *arg = make_fifos("flow-end", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    char buf[1000] = { 0 };

    while ((n = chr_write(&d->port, buf, sizeof(buf))) > 0)
        sent += n;
    GThread *t = g_thread_new("reader", slow_reader, GINT_TO_POINTER(from));
    dev_free(d);
    chardevs_free(set);
    CHECK_EQ(GPOINTER_TO_INT(g_thread_join(t)), sent);
    g_free(arg);
    close(to);
    close(from);
}

/* ---- what goes wrong */

static void test_wrong(void)
{
    wrong(true, "stdoi", "'stdoi'", "'stdio'");
    wrong(true, "vc", "graphical", "stdio");
    wrong(true, "tcp:localhost", "no port", "tcp:HOST:PORT");
    wrong(true, "tcp:localhost:1,server=on,wiat=off", "'wiat'", "'wait'");
    wrong(true, "file:/nonexistent/x", "No such file", NULL);
    wrong(true, "unix:/nonexistent/x", "No such file", "server=on");
    wrong(true, "chardev:nope", "'nope'", "-chardev");
    wrong(true, "mon:chardev:nope", "chardev", NULL);
    wrong(true, "", "''", "stdio");
    wrong(false, "sockt,id=x", "'sockt'", "'socket'");
    wrong(false, "udp,id=x", "no port", "port=PORT");
    wrong(true, "udp:localhost", "no port", "udp:HOST:PORT");
    wrong(false, "ringbuf,id=x,size=1000", "size", "power of two");
    wrong(false, "spicevmc,id=x,name=vdagent", "not available", "virtserialport");
    wrong(false, "serial,id=x,path=/dev/null", "no serial port", NULL);
    wrong(true, "/dev/nonexistent", "No such file", NULL);
    wrong(true, "/dev/parport0", "not available", NULL);
    wrong(false, "file,id=x,path=/nonexistent/x,input-path=/nonexistent/y", "nonexistent/y", NULL);
    wrong(false, "socket,id=x,path=/a,websocket=on", "websocket", "websockify");
    wrong(false, "socket,id=x,path=/a,tls-creds=t", "tls-creds", "socat");
    wrong(false, "socket,id=x,path=/a,server=on,wait=off,reconnect=1", "clients", NULL);
    wrong(false, "socket,id=x,path=/a,reconnect=1,reconnect-ms=5", "the same", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=20,to=10,server=on,wait=off", "to=10", "first free port");
    wrong(false, "null", "no id", "id=NAME");
    wrong(false, "file,id=x", "no path", "path=");
    wrong(false, "pipe,id=x,path=/nonexistent/p", "No such file", "mkfifo");
    wrong(false, "socket,id=x", "one address", "path=");
    wrong(false, "socket,id=x,path=/a,port=1", "one address", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=nosuchport", "nosuchport", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=1", "Connection refused", "server=on");
    wrong(false, "socket,id=x,fd=9999", "Bad file descriptor", NULL);
    wrong(false, "socket,id=x,path=/a,wait=on", "servers", NULL);
    char *path = g_strnfill(200, 'a');
    char *arg = g_strconcat("unix:/", path, NULL);
    wrong(true, arg, "too long", "107");
    g_free(arg);
    g_free(path);
}

static void test_wrong_use(void)
{
    Chardevs *set = new_set();
    Chardev *c, *found;

    no_err(chardev_add(set, "null,id=con0", &c));
    Err *e = chardev_add(set, "null,id=con0", &found);
    CHECK(e && strstr(err_text(e), "'con0'"));
    err_free(e);
    e = chardev_find(set, "cno0", &found);
    CHECK(e && strstr(err_hint_text(e), "'con0'"));
    err_free(e);
    Dev *d = new_dev(c, 1);
    CharPort second = { .chr = c };
    e = chr_bind(&second, &dev_events, d);
    CHECK(e && strstr(err_hint_text(e), "mux=on"));
    err_free(e);
    chr_unbind(&second);
    CHECK(c == d->port.chr);
    CHECK_EQ(chr_write(&d->port, "x", 1), 1);
    dev_free(d);
    char *help = chardev_help("socket");
    CHECK(strstr(help, "server=on|off") && !strstr(help, "pseudo"));
    g_free(help);
    chardevs_free(set);
}

int main(void)
{
    rig_begin();
    RUN(test_null);
    RUN(test_file);
    RUN(test_ringbuf);
    RUN(test_fdset);
    RUN(test_file_input);
    RUN(test_input_flow);
    RUN(test_output_flow);
    RUN(test_flush_at_end);
    RUN(test_wrong);
    RUN(test_wrong_use);
    return rig_end();
}
