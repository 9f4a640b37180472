/* SPDX-License-Identifier: MIT */
/*
 * main() of lyre-io: the command line, then the commands of -c, or a shell.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/objects.h"
#include "cmd/io/io.h"
#include "util/trace.h"

typedef struct Line {
    const char *program;
    OpenArgs open;
    GPtrArray *commands, *objects;      /* borrowed words of argv */
    const char *name;                   /* of the image, or NULL */
    bool misalign;
    int status;
} Line;

enum { OPT_OBJECT = 256, OPT_IMAGE_OPTS };

static const struct option options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "copy-on-read", no_argument, NULL, 'C' },
    { "misalign", no_argument, NULL, 'm' },
    { "native-aio", no_argument, NULL, 'k' },
    { "aio", required_argument, NULL, 'i' },
    { "discard", required_argument, NULL, 'd' },
    { "cache", required_argument, NULL, 't' },
    { "trace", required_argument, NULL, 'T' },
    { "force-share", no_argument, NULL, 'U' },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { 0 }
};

static void usage(const char *program)
{
    printf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n"
           "Exercises a disk image: reads, writes, checks patterns\n\n"
           "  --object OBJECTDEF   define an object such as 'secret' for\n"
           "                       passwords and/or encryption keys\n"
           "  --image-opts         treat file as option string\n"
           "  -c, --cmd STRING     execute command with its arguments\n"
           "                       from the given string\n"
           "  -f, --format FMT     specifies the block driver to use\n"
           "  -r, --read-only      export read-only\n"
           "  -s, --snapshot       use snapshot file\n"
           "  -n, --nocache        disable host cache, short for -t none\n"
           "  -C, --copy-on-read   enable copy-on-read\n"
           "  -m, --misalign       misalign allocations for O_DIRECT\n"
           "  -k, --native-aio     use kernel AIO implementation\n"
           "                       (Linux only, prefer use of -i)\n"
           "  -i, --aio=MODE       use AIO mode (threads, native or io_uring)\n"
           "  -t, --cache=MODE     use the given cache mode for the image\n"
           "  -d, --discard=MODE   use the given discard mode for the image\n"
           "  -T, --trace PATTERN  turn trace points on; 'help' lists them\n"
           "  -U, --force-share    force shared permissions\n"
           "  -h, --help           display this help and exit\n"
           "  -V, --version        output version information and exit\n\n"
           "See '%s -c help' for information on available commands.\n", program, program);
}

static Err *trace(Line *l, const char *pattern, bool *done)
{
    if (strcmp(pattern, "help"))
        return err_in(trace_option(pattern), "--trace");
    g_autofree char *text = trace_help();
    fputs(text, stdout);
    *done = true;
    return NULL;
}

/* The words of the command line. *done: nothing is left to do, l->status is the program's. */
static Err *read_line(Line *l, int argc, char **argv, bool *done)
{
    int letter;

    while ((letter = getopt_long(argc, argv, "hVc:f:mT:" IO_OPEN_LETTERS, options, NULL)) != -1) {
        switch (letter) {
        case 'c': g_ptr_array_add(l->commands, optarg); break;
        case 'f': l->open.format = optarg; break;
        case 'm': l->misalign = true; break;
        case OPT_OBJECT: g_ptr_array_add(l->objects, optarg); break;
        case OPT_IMAGE_OPTS: l->open.image_opts = true; break;
        case 'T':
            TRY(trace(l, optarg, done));
            if (*done)
                return NULL;
            break;
        case 'V':
            printf("%s, the disk exerciser of the Lyre emulator, version %s\n", l->program, LYRE_VERSION);
            *done = true;
            return NULL;
        case 'h':
            usage(l->program);
            *done = true;
            return NULL;
        default:
            if (io_open_option(&l->open, letter, optarg))
                break;
            usage(l->program);
            *done = true;
            l->status = 1;
            return NULL;
        }
    }
    if (argc - optind > 1) {
        usage(l->program);
        *done = true;
        l->status = 1;
    } else if (optind < argc) {
        l->name = argv[optind];
    }
    if (l->open.format && l->open.image_opts)
        return err(ERR_INVALID, "--image-opts and -f are mutually exclusive");
    return NULL;
}

/* ---- the run, in a coroutine */

typedef struct Run {
    Io io;
    Line *line;
} Run;

static Err *add_objects(Run *r)
{
    for (guint i = 0; i < r->line->objects->len; i++) {
        const char *text = r->line->objects->pdata[i];
        TRY(err_in(objects_add(graph_objects(r->io.graph), text), "--object %s", text));
    }
    return NULL;
}

static void run(void *arg)
{
    Run *r = arg;
    Line *l = r->line;
    Err *e = add_objects(r);
    int ret = 0;

    if (e) {
        err_report(e);
        l->status = 1;
        return;
    }
    if (l->name && io_open_image(&r->io, &l->open, l->name) < 0) {
        l->status = 1;
        return;
    }
    for (guint i = 0; i < l->commands->len && !r->io.quit; i++) {
        int now = io_command(&r->io, l->commands->pdata[i]);
        ret = ret ? ret : now;
    }
    if (!l->commands->len)
        ret = io_shell(&r->io, l->program);
    io_close_image(&r->io);
    l->status = ret < 0;
}

static Err *run_line(Line *l)
{
    Run r = { .line = l };

    r.io.image_opts = l->open.image_opts;
    r.io.misalign = l->misalign;
    TRY(loop_new(0, &r.io.loop));
    r.io.graph = graph_new(r.io.loop);
    co_run(r.io.loop, run, &r);
    graph_free(r.io.graph);
    loop_free(r.io.loop);
    return NULL;
}

static int finish(Line *l, Err *e)
{
    if (fflush(stdout) && !e)
        e = err(ERR_IO, "cannot write to the standard output");
    if (e) {
        err_report(e);
        l->status = 1;
    }
    g_ptr_array_free(l->commands, TRUE);
    g_ptr_array_free(l->objects, TRUE);
    return l->status;
}

int main(int argc, char **argv)
{
    g_autofree char *program = g_path_get_basename(argc ? argv[0] : "lyre-io");
    Line l = { .program = program, .commands = g_ptr_array_new(), .objects = g_ptr_array_new() };
    bool done = false;
    Err *e;

    g_set_prgname(program);
    signal(SIGPIPE, SIG_IGN);
    e = read_line(&l, argc, argv, &done);
    if (!e && !done)
        e = run_line(&l);
    return finish(&l, e);
}
