/* SPDX-License-Identifier: MIT */
/*
 * Messages to the 9P server, in a folder of its own beside a file that must stay
 * as it is. First byte: the security model and whether it is read-only. Then
 * messages: two bytes of length, and what is behind the size; the session begins
 * with a version and an attach of our own.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/stat.h>

#include "hw/9p/p9.h"

enum { MOST = 64 };

static uint8_t reply[65536];

static void done(P9Call *c, uint32_t len)
{
    fuzz_must(len <= sizeof(reply), "a reply of %u bytes", len);
    fuzz_must(!len || (len >= 7 && len == (reply[0] | reply[1] << 8 | reply[2] << 16 | (uint32_t)reply[3] << 24)),
              "a reply whose size is wrong");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_hide();
    if (!g_file_set_contents("keep-outside", "as it was", -1, NULL))
        abort();
    return 0;
}

static void say(P9Server *s, const uint8_t *body, uint32_t n, uint32_t room)
{
    uint8_t message[4 + 65536];
    uint32_t len = n + 4;
    struct iovec o = { message, len }, i = { reply, room };
    P9Call c = { .out = iov_of(&o, 1), .in = iov_of(&i, 1), .done = done };

    memcpy(message, &len, 4);
    memcpy(message + 4, body, n);
    p9_call(s, &c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t version[] = { 100, 0, 0, 0, 0, 1, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L' };
    static const uint8_t attach[] = { 104, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0 };
    g_autofree char *text = NULL;
    P9Server *s;

    if (!size)
        return 0;
    if (mkdir("keep-share", 0700) < 0 && errno != EEXIST)
        abort();
    if (symlink("../keep-outside", "keep-share/out") < 0 && errno != EEXIST)
        abort();
    FsDev fs = { .id = (char *)"f", .path = (char *)"keep-share", .model = data[0] & 3, .readonly = data[0] & 4,
                 .fmode = 0600, .dmode = 0700 };
    Err *e = p9_new(&fs, NULL, &s);
    fuzz_error(e);
    if (e)
        return 0;
    say(s, version, sizeof(version), sizeof(reply));
    say(s, attach, sizeof(attach), sizeof(reply));
    size_t at = 1;
    for (int n = 0; n < MOST && size - at >= 2; n++) {
        unsigned len = data[at] | (data[at + 1] & 15) << 8, room = data[at + 1] & 16 ? 11u + (data[at + 1] >> 5) * 9 : (unsigned)sizeof(reply);

        at += 2;
        len = MIN(len, size - at);
        say(s, data + at, len, room);
        at += len;
    }
    p9_free(s);
    fuzz_must(g_file_get_contents("keep-outside", &text, NULL, NULL) && !strcmp(text, "as it was"), "it got out");
    if (system("rm -rf keep-share"))
        abort();
    return 0;
}
