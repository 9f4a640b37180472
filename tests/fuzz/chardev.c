/* SPDX-License-Identifier: MIT */
/*
 * The arguments of -chardev and -serial: what is understood is made, written to,
 * read from and taken apart, in a folder and a network of its own.
 *
 * First byte: which option. Lines after the first are further backends.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/stat.h>

#include "chardev/chardev.h"

static int port_room(void *dev) { return 16; }
static void port_data(void *dev, const uint8_t *buf, int n) { }
static void port_event(void *dev, CharEvent what) { }
static const CharEvents events = { port_room, port_data, port_event };

static void quit(void *opaque) { }

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int null = open("/dev/null", O_RDWR);

    fuzz_hide();
    /* Terminal settings and input belong to who runs us. */
    dup2(null, 0);
    if (mkfifo("keep.in", 0600) < 0 || mkfifo("keep.out", 0600) < 0 || mkfifo("keep", 0600) < 0)
        abort();
    return 0;
}

/* One backend of the set; its port may stay unbound when somebody has it already. */
static void add(Chardevs *set, bool serial, const char *arg, int n, CharPort *port)
{
    Chardev *chr = NULL;
    /* A server that waits for its first client would wait for ever. */
    char *spec = g_strdup_printf("%s%s", arg, strstr(arg, "server") ? ",wait=off" : "");
    Err *e = serial ? chardev_add_serial(set, spec, n, &chr) : chardev_add(set, spec, &chr);

    if (!e && chr) {
        port->chr = chr;
        Err *bound = chr_bind(port, &events, NULL);
        if (bound)
            port->chr = NULL;
        fuzz_error(bound);
        g_free(chardev_filename(chr));
    }
    fuzz_error(e);
    g_free(spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = 4 };
    CharPort ports[MAX] = { { 0 } };

    if (!size)
        return 0;
    char *text = fuzz_text(data + 1, size - 1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", MAX);
    /* stdio would end the fuzzer's own output. */
    if (!fuzz_reaches_out(text) && !strstr(text, "stdio")) {
        GMainContext *context = g_main_context_new();
        ChardevHost host = { .context = context, .quit = quit };
        Chardevs *set = chardevs_new(&host);
        int n = 0;

        for (; lines[n] && n < MAX; n++)
            add(set, data[0] >> n & 1, lines[n], n, &ports[n]);
        for (int turn = 0; turn < 3; turn++) {
            for (int i = 0; i < n; i++)
                if (ports[i].chr)
                    chr_write(&ports[i], "hello\n", 6);
            g_main_context_iteration(context, FALSE);
        }
        for (int i = 0; i < n; i++)
            if (ports[i].chr)
                chr_unbind(&ports[i]);
        chardevs_free(set);
        g_main_context_unref(context);
        fuzz_tidy();
    }
    g_free(text);
    return 0;
}
