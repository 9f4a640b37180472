/* SPDX-License-Identifier: MIT */
/*
 * main() of lyre-img: the words in front of the command's name, the command's
 * own (parse.c), and its run, whole, in one coroutine.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/img/img.h"
#include "block/objects.h"
#include "util/trace.h"

static Err *unknown_command(const char *program, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    Err *e = err(ERR_NOT_FOUND, "there is no command '%s'", name);

    for (const ImgCommand *c = img_commands; c->name; c++)
        g_ptr_array_add(names, (void *)c->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    if (near)
        e = err_hint(e, "Did you mean '%s'?", near);
    return err_hint(e, "%s --help lists the commands.", program);
}

static void print(char *text)
{
    fputs(text, stdout);
    g_free(text);
}

/* Options in front of the command. *at: the next word; *done: nothing is left to do. */
static Err *front_options(const char *program, int argc, char **argv, int *at, bool *done)
{
    for (; *at < argc && argv[*at][0] == '-'; ++*at) {
        const char *word = argv[*at], *pattern = NULL;

        *done = true;
        if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
            print(img_help(program, NULL));
            return NULL;
        }
        if (!strcmp(word, "-V") || !strcmp(word, "--version")) {
            printf("%s, the image tool of the Lyre emulator, version %s\n", program, LYRE_VERSION);
            return NULL;
        }
        *done = false;
        if (g_str_has_prefix(word, "--trace="))
            pattern = word + strlen("--trace=");
        else if (!strcmp(word, "-T") || !strcmp(word, "--trace"))
            pattern = argv[++*at];
        else if (g_str_has_prefix(word, "-T"))
            pattern = word + 2;
        else
            return err_hint(err(ERR_NOT_FOUND, "there is no option '%s' in front of the command", word),
                            "A command comes first, then its options: %s COMMAND --help", program);
        if (!pattern)
            return err(ERR_INVALID, "the option '%s' needs an argument: %s PATTERN", word, word);
        if (!strcmp(pattern, "help")) {
            print(trace_help());
            *done = true;
            return NULL;
        }
        TRY(err_in(trace_option(pattern), "%s", word));
    }
    return NULL;
}

/* --object help, or KIND,help. */
static char *objects_help_asked(const ImgArgs *a)
{
    for (guint i = 0; a->objects && i < a->objects->len; i++) {
        const char *text = a->objects->pdata[i];
        if (!strcmp(text, "help") || !strcmp(text, "?"))
            return objects_help(NULL);
        if (g_str_has_suffix(text, ",help") || g_str_has_suffix(text, ",?")) {
            g_autofree char *kind = g_strndup(text, strcspn(text, ","));
            return objects_help(kind);
        }
    }
    return NULL;
}

typedef struct Run {
    Img *im;
    Err *e;
} Run;

static void run_command(void *arg)
{
    Run *r = arg;

    r->e = img_add_objects(r->im);
    if (!r->e)
        r->e = r->im->cmd->run(r->im);
}

static Err *run(Img *im)
{
    Run r = { im, NULL };

    TRY(loop_new(0, &im->loop));
    im->graph = graph_new(im->loop);
    co_run(im->loop, run_command, &r);
    graph_free(im->graph);
    loop_free(im->loop);
    if (fflush(stdout) && !r.e)
        return err_errno(errno, "cannot write to the standard output");
    return r.e;
}

static Err *command(Img *im, int argc, char **argv)
{
    im->cmd = img_command_find(argv[0]);
    if (!im->cmd && !strcmp(argv[0], "help")) {
        im->cmd = argc > 1 ? img_command_find(argv[1]) : NULL;
        print(img_help(im->program, im->cmd));
        return NULL;
    }
    if (!im->cmd)
        return unknown_command(im->program, argv[0]);
    im->status = -1;
    Err *e = img_parse(im, argc - 1, argv + 1);
    char *help = im->a.help ? img_help(im->program, im->cmd) : objects_help_asked(&im->a);
    if (help) {
        err_free(e);        /* who asks has not written the rest yet */
        print(help);
        return NULL;
    }
    return e ? e : run(im);
}

int main(int argc, char **argv)
{
    g_autofree char *program = g_path_get_basename(argc ? argv[0] : "lyre-img");
    Img im = { .program = program, .status = -1 };
    bool done = false;
    int at = 1;

    g_set_prgname(program);
    signal(SIGPIPE, SIG_IGN);
    Err *e = front_options(program, argc, argv, &at, &done);
    if (!e && !done && at >= argc)
        e = err_hint(err(ERR_INVALID, "there is no command"), "%s --help lists them.", program);
    else if (!e && !done)
        e = command(&im, argc - at, argv + at);
    int status = im.status >= 0 ? im.status : !e ? 0 : im.cmd ? im.cmd->failed : 1;
    if (!e && fflush(stdout))
        e = err_errno(errno, "cannot write to the standard output");
    if (e) {
        err_report(e);
        status = status ? status : 1;
    }
    img_args_clear(&im.a);
    img_end_of_signal();
    return status;
}
