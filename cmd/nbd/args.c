/* SPDX-License-Identifier: MIT */
/*
 * The command line of lyre-nbd, qemu-nbd's: a row for each option. --help, the
 * parser and a test that compares the manual page go by the rows.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd/nbd/nbd.h"
#include "util/str.h"

typedef enum Kind { FLAG, TEXT, LIST } Kind;

typedef struct Option {
    char letter;                /* 0: none */
    const char *name, *arg;     /* arg NULL: takes none */
    Kind kind;
    uint16_t offset;            /* in NbdArgs: bool, char *, GPtrArray * */
    const char *doc;            /* lines */
} Option;

#define AT(m) offsetof(NbdArgs, m)

/* Rows whose name is NULL are headings. */
static const Option options[] = {
    { 0, NULL, NULL, 0, 0, "Where" },
    { 'p', "port", "PORT", TEXT, AT(port), "TCP port to listen on, or to connect to (10809)" },
    { 'b', "bind", "ADDRESS", TEXT, AT(bind), "address to listen on (0.0.0.0), or host to connect to" },
    { 'k', "socket", "PATH", TEXT, AT(socket), "a unix socket in place of TCP" },
    { 0, NULL, NULL, 0, 0, "The export" },
    { 'x', "export-name", "NAME", TEXT, AT(export), "its name (the empty one, which is the default export)" },
    { 'D', "description", "TEXT", TEXT, AT(description), "words about it, which clients can show" },
    { 'e', "shared", "NUM", TEXT, AT(shared_text), "clients at once (1); 0: any number" },
    { 't', "persistent", NULL, FLAG, AT(persistent), "go on when the last client has left" },
    { 'r', "read-only", NULL, FLAG, AT(read_only), "nobody can write" },
    { 'o', "offset", "BYTES", TEXT, AT(offset), "the export begins there in the image" },
    { 'A', "allocation-depth", NULL, FLAG, AT(depth), "show which layer of a backing chain has what" },
    { 'B', "bitmap", "NAME", LIST, AT(bitmaps), "show a dirty bitmap; may be given several times" },
    { 0, NULL, NULL, 0, 0, "The image" },
    { 'f', "format", "FORMAT", TEXT, AT(format), "its format (raw, qcow2, ..); guessed if it is not given" },
    { 0, "image-opts", NULL, FLAG, AT(image_opts), "IMAGE is a list of options: driver=qcow2,file.filename=.." },
    { 's', "snapshot", NULL, FLAG, AT(snapshot), "writes go to a temporary file and are forgotten at the end" },
    { 'l', "load-snapshot", "SNAPSHOT", TEXT, AT(load_snapshot),
      "serve an internal snapshot, read-only: ID_OR_NAME, or\nsnapshot.id=ID,snapshot.name=NAME" },
    { 'n', "nocache", NULL, FLAG, AT(nocache), "--cache=none" },
    { 0, "cache", "MODE", TEXT, AT(cache), "none, writeback (the default), writethrough, directsync or unsafe" },
    { 0, "aio", "MODE", TEXT, AT(aio), "threads or io_uring; native is taken as io_uring" },
    { 0, "discard", "MODE", TEXT, AT(discard), "unmap: clients' trims give space back; ignore" },
    { 0, "detect-zeroes", "MODE", TEXT, AT(detect_zeroes), "zeroes that clients write become holes: on, unmap, off" },
    { 0, NULL, NULL, 0, 0, "Security" },
    { 0, "object", "KIND,id=ID,..", LIST, AT(objects), "make a secret or TLS credentials; --object help lists kinds" },
    { 0, "tls-creds", "ID", TEXT, AT(tls_creds), "TLS alone, with the credentials of an --object" },
    { 0, "tls-hostname", "NAME", TEXT, AT(tls_hostname), "--list: name that the server's certificate must have" },
    { 0, "tls-authz", "ID", TEXT, AT(tls_authz), "who may connect: not supported yet" },
    { 0, "selinux-label", "LABEL", TEXT, AT(selinux), "label of the socket: not supported" },
    { 0, NULL, NULL, 0, 0, "The process" },
    { 0, "fork", NULL, FLAG, AT(fork), "go into the background when clients can connect" },
    { 0, "pid-file", "PATH", TEXT, AT(pid_file), "write the process id there" },
    { 'v', "verbose", NULL, FLAG, AT(verbose), "say who comes and goes" },
    { 'T', "trace", "PATTERN", LIST, AT(traces), "switch trace points on; help lists them" },
    { 0, NULL, NULL, 0, 0, "Others" },
    { 'L', "list", NULL, FLAG, AT(list), "show what the server at -k, or -b and -p, has to offer" },
    { 'c', "connect", "DEV", TEXT, AT(connect), "serve to the kernel's device /dev/nbdN" },
    { 'd', "disconnect", NULL, FLAG, AT(disconnect), "detach the device that is given in place of an image" },
    { 'h', "help", NULL, FLAG, AT(help), "this text" },
    { 'V', "version", NULL, FLAG, AT(version), "the version" },
};

/* ---- help */

static void help_row(GString *out, const Option *o)
{
    g_autofree char *head = o->letter ? g_strdup_printf("  -%c, --%s%s%s", o->letter, o->name, o->arg ? "=" : "",
                                                        o->arg ? o->arg : "")
                                      : g_strdup_printf("      --%s%s%s", o->name, o->arg ? "=" : "", o->arg ? o->arg : "");
    g_auto(GStrv) lines = g_strsplit(o->doc, "\n", -1);

    g_string_append_printf(out, "%-29s %s\n", head, lines[0]);
    for (char **l = lines + 1; *l; l++)
        g_string_append_printf(out, "%-29s %s\n", "", *l);
}

char *nbd_args_help(const char *program)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out,
        "Usage: %s [OPTION]... IMAGE      serve an image to NBD clients\n"
        "  or:  %s --list [OPTION]...     show what a server has to offer\n"
        "  or:  %s --disconnect DEV       detach a device of the kernel\n\n"
        "Serves a disk image over the network or a unix socket:\n"
        "  %s -f qcow2 -t -k /tmp/disk.sock disk.qcow2\n"
        "for clients such as nbdcopy, lyre-img and the kernel:\n"
        "  nbdinfo 'nbd+unix:///?socket=/tmp/disk.sock'\n", program, program, program, program);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (options[i].name)
            help_row(out, &options[i]);
        else
            g_string_append_printf(out, "\n%s:\n", options[i].doc);
    }
    return g_string_free(out, FALSE);
}

/* ---- parsing */

static void set(NbdArgs *a, const Option *o, const char *value)
{
    void *at = (char *)a + o->offset;

    switch (o->kind) {
    case FLAG:
        *(bool *)at = true;
        break;
    case TEXT:
        g_free(*(char **)at);
        *(char **)at = g_strdup(value);
        break;
    case LIST:
        g_ptr_array_add(*(GPtrArray **)at, g_strdup(value));
        break;
    }
}

static Err *unknown(const char *word)
{
    const char *names[G_N_ELEMENTS(options) + 1];
    size_t n = 0, len = strcspn(word, "=");
    g_autofree char *plain = g_strndup(word, len);

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].name)
            names[n++] = options[i].name;
    names[n] = NULL;
    Err *e = err(ERR_INVALID, "there is no option '%s'", plain);
    const char *near = g_str_has_prefix(plain, "--") ? nearest_name(plain + 2, names) : NULL;
    return near ? err_hint(e, "Did you mean '--%s'?", near) : err_hint(e, "--help lists the options.");
}

static Err *take(NbdArgs *a, int c, int which, char **argv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (options[i].name && (c ? options[i].letter == c : i == (size_t)which)) {
            set(a, &options[i], optarg);
            return NULL;
        }
    }
    if (c == ':')
        return err_hint(err(ERR_INVALID, "the option '%s' needs an argument", argv[optind - 1]), "--help says which.");
    if (optopt > 0 && optopt < 256) {
        char word[] = { '-', optopt, 0 };
        return unknown(word);
    }
    return unknown(argv[optind - 1]);
}

Err *nbd_args_parse(NbdArgs *a, int argc, char **argv)
{
    struct option longs[G_N_ELEMENTS(options) + 1] = { 0 };
    g_autoptr(GString) letters = g_string_new(":");
    unsigned n = 0;
    int c, which;

    *a = (NbdArgs){ .objects = g_ptr_array_new_with_free_func(g_free), .bitmaps = g_ptr_array_new_with_free_func(g_free),
                    .traces = g_ptr_array_new_with_free_func(g_free), .shared = 1 };
    /* `which` is the row: longs has no holes, so the rows' numbers are kept in val. */
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        const Option *o = &options[i];
        if (!o->name)
            continue;
        longs[n++] = (struct option){ o->name, o->arg ? required_argument : no_argument, &which, i };
        if (o->letter)
            g_string_append_printf(letters, "%c%s", o->letter, o->arg ? ":" : "");
    }
    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, letters->str, longs, NULL)) >= 0)
        TRY(take(a, c, which, argv));
    a->operands = argc - optind;
    a->file = a->operands ? argv[optind] : NULL;
    return NULL;
}

/* ---- what makes sense */

static Err *one_of(const char *option, const char *value, const char *const *names)
{
    if (!value)
        return NULL;
    for (const char *const *n = names; *n; n++)
        if (!strcmp(*n, value))
            return NULL;
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    return err_hint(err(ERR_INVALID, "Invalid %s mode '%s'", option, value), "There are: %s.", all);
}

static Err *check_modes(NbdArgs *a)
{
    static const char *const caches[] = { "none", "writeback", "writethrough", "directsync", "unsafe", NULL };
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const zeroes[] = { "off", "on", "unmap", NULL };

    if (a->nocache && a->cache)
        return err(ERR_INVALID, "-n and --cache can only be specified once");
    if (a->nocache)
        a->cache = g_strdup("none");
    TRY(one_of("cache", a->cache, caches));
    TRY(one_of("aio", a->aio, aios));
    TRY(one_of("discard", a->discard, discards));
    TRY(one_of("detect-zeroes", a->detect_zeroes, zeroes));
    if (a->detect_zeroes && !strcmp(a->detect_zeroes, "unmap") &&
        (!a->discard || (strcmp(a->discard, "unmap") && strcmp(a->discard, "on"))))
        return err_hint(err(ERR_INVALID, "setting detect-zeroes to unmap is not allowed without setting discard operation "
                            "to unmap"), "Add --discard=unmap.");
    return NULL;
}

static Err *check_numbers(NbdArgs *a)
{
    uint64_t n = 1;

    if (a->shared_text) {
        Err *e = parse_num(a->shared_text, &n);
        if (!e && n > INT32_MAX)
            e = err(ERR_INVALID, "too large");
        if (e) {
            err_free(e);
            return err_hint(err(ERR_INVALID, "Invalid shared device number '%s'", a->shared_text),
                            "It is the number of clients at once; 0: any number.");
        }
    }
    a->shared = n;
    if (a->offset) {
        Err *e = parse_size(a->offset, 1, &a->offset_bytes);
        if (e || a->offset_bytes > BLOCK_MAX_SIZE) {
            err_free(e);
            return err(ERR_INVALID, "Invalid offset '%s'", a->offset);
        }
    }
    if (a->port && (parse_num(a->port, &n) ? true : n > 65535))
        return err(ERR_INVALID, "Invalid port '%s'", a->port);
    return NULL;
}

static Err *check_unsupported(const NbdArgs *a)
{
    if (a->tls_authz && !a->tls_creds)
        return err(ERR_INVALID, "--tls-authz is not permitted without --tls-creds");
    if (a->tls_authz)
        return err_hint(err(ERR_UNSUPPORTED, "--tls-authz is not supported yet"),
                        "With verify-peer=on only clients whose certificate your own CA signed get in: "
                        "a CA for this purpose alone does the same.");
    if (a->selinux)
        return err_hint(err(ERR_UNSUPPORTED, "--selinux-label is not supported"),
                        "Let systemd make the socket (SELinuxContextFromNet=, socket activation), or label it by chcon.");
    if (a->tls_hostname && !a->tls_creds)
        return err(ERR_INVALID, "--tls-hostname is not permitted without --tls-creds");
    if (a->tls_hostname && !a->list)
        return err_hint(err(ERR_INVALID, "--tls-hostname is for clients: it needs --list"),
                        "A server's name is in its own certificate.");
    return NULL;
}

static Err *check_list(const NbdArgs *a)
{
    if (a->operands)
        return err(ERR_INVALID, "List mode is incompatible with a file name");
    if (a->export || a->description || a->offset || a->depth || a->bitmaps->len || a->format || a->read_only ||
        a->snapshot || a->load_snapshot || a->connect || a->image_opts || a->fork || a->pid_file || a->persistent)
        return err_hint(err(ERR_INVALID, "List mode is incompatible with per-device settings"),
                        "Only -b, -p, -k, --object and --tls-* go with --list.");
    return NULL;
}

Err *nbd_args_check(NbdArgs *a)
{
    TRY(check_numbers(a));
    TRY(check_modes(a));
    TRY(check_unsupported(a));
    if (a->socket && (a->port || a->bind))
        return err(ERR_INVALID, "-k and -p or -b exclude each other: a unix socket has no port");
    if (a->list)
        return check_list(a);
    if (a->operands != 1)
        return err_hint(err(ERR_INVALID, "Invalid number of arguments"),
                        a->disconnect ? "Give the device: --disconnect /dev/nbd0" : "One image is served; --help has examples.");
    if (a->disconnect)
        return NULL;
    if (a->image_opts && a->format)
        return err(ERR_INVALID, "--image-opts and -f are mutually exclusive");
    if (a->connect && a->tls_creds)
        return err(ERR_UNSUPPORTED, "TLS is not supported with a host device");
    return NULL;
}

void nbd_args_clear(NbdArgs *a)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].name && options[i].kind == TEXT)
            g_free(*(char **)((char *)a + options[i].offset));
    if (a->objects) {
        g_ptr_array_free(a->objects, TRUE);
        g_ptr_array_free(a->bitmaps, TRUE);
        g_ptr_array_free(a->traces, TRUE);
    }
    *a = (NbdArgs){ 0 };
}
