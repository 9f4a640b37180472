/* SPDX-License-Identifier: MIT */
/* -boot: which devices firmware tries, and how it asks. */
#include "cmd/options.h"

#include <string.h>

#include "util/opts.h"
#include "util/str.h"

static void put(char **where, const char *text)
{
    char *old = *where;

    *where = g_strdup(text);
    g_free(old);
}

/* Letters of drives, each at most once. */
static Err *check_letters(const char *key, const char *letters)
{
    for (const char *l = letters; *l; l++) {
        if (!strchr("acdn", *l))
            return err_hint(err(ERR_INVALID, "%s=%s: '%c' is no kind of device to boot from", key, letters, *l),
                            "a is a floppy, c a disk, d a CD, n the network: order=dc. bootindex= of -device is finer.");
        if (strchr(l + 1, *l))
            return err(ERR_INVALID, "%s=%s: '%c' is there twice", key, letters, *l);
    }
    return NULL;
}

static Err *use_letters(const Opts *o, const char *key, char **where)
{
    const char *letters = opts_str(o, key, NULL);

    if (!letters)
        return NULL;
    TRY(check_letters(key, letters));
    put(where, letters);
    return NULL;
}

static Err *use_splash_time(EmuConfig *c, const Opts *o)
{
    uint64_t ms = opts_num(o, "splash-time", 0);

    if (!opts_has(o, "splash-time"))
        return NULL;
    if (ms > 65535)
        return err(ERR_INVALID, "splash-time: 0 to 65535 milliseconds");
    c->vm.boot_has_splash_time = true;
    c->vm.boot_splash_time = ms;
    return NULL;
}

/* The one number here that may be negative: -1 is never. */
static Err *use_reboot_timeout(EmuConfig *c, const Opts *o)
{
    const char *text = opts_str(o, "reboot-timeout", NULL);
    uint64_t ms = 0;

    if (!text)
        return NULL;
    c->vm.boot_has_reboot_timeout = strcmp(text, "-1") != 0;
    if (!c->vm.boot_has_reboot_timeout)
        return NULL;
    TRY(err_in(parse_num(text, &ms), "reboot-timeout"));
    if (ms > 65535)
        return err(ERR_INVALID, "reboot-timeout: -1 (never), or 0 to 65535 milliseconds");
    c->vm.boot_reboot_timeout = ms;
    return NULL;
}

static Err *use_boot(EmuConfig *c, const Opts *o)
{
    TRY(use_letters(o, "order", &c->vm.boot_order));
    TRY(use_letters(o, "once", &c->vm.boot_once));
    TRY(use_splash_time(c, o));
    TRY(use_reboot_timeout(c, o));
    if (opts_has(o, "splash"))
        put(&c->vm.boot_splash, opts_str(o, "splash", NULL));
    c->vm.boot_menu = opts_bool(o, "menu", c->vm.boot_menu);
    c->vm.boot_strict = opts_bool(o, "strict", c->vm.boot_strict);
    return NULL;
}

Err *set_boot(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = {
        { "order",          OPT_STR,  "kinds of devices to try, in order: a floppy, c disk, d CD, n network" },
        { "once",           OPT_STR,  "the same for the first boot alone" },
        { "menu",           OPT_BOOL, "firmware shows a menu" },
        { "splash",         OPT_STR,  "a picture for it, JPEG or BMP" },
        { "splash-time",    OPT_NUM,  "milliseconds it waits for a key" },
        { "reboot-timeout", OPT_STR,  "milliseconds until it tries again when nothing can be booted; -1: never" },
        { "strict",         OPT_BOOL, "it tries nothing else" },
        { 0 }
    };
    Opts *o;

    TRY(opts_parse(arg, descs, "order", &o));
    Err *e = use_boot(c, o);
    opts_free(o);
    return e;
}
