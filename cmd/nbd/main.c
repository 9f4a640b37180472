/* SPDX-License-Identifier: MIT */
/*
 * main() of lyre-nbd: the command line, the loop, and one coroutine that does
 * the work.
 */
#include <stdio.h>
#include <string.h>

#include "block/objects.h"
#include "cmd/nbd/nbd.h"
#include "util/trace.h"

/* --object help, --trace help: print, and that is all. */
static bool asked_for_lists(const NbdArgs *a)
{
    char *text = NULL;

    for (guint i = 0; i < a->objects->len && !text; i++) {
        const char *o = a->objects->pdata[i];
        if (!strcmp(o, "help") || !strcmp(o, "?")) {
            text = objects_help(NULL);
        } else if (g_str_has_suffix(o, ",help") || g_str_has_suffix(o, ",?")) {
            g_autofree char *kind = g_strndup(o, strcspn(o, ","));
            text = objects_help(kind);
        }
    }
    for (guint i = 0; i < a->traces->len && !text; i++)
        if (!strcmp(a->traces->pdata[i], "help"))
            text = trace_help();
    if (text)
        fputs(text, stdout);
    g_free(text);
    return text;
}

typedef struct Run {
    NbdTool *t;
    Err *e;
} Run;

static Err *prepare(NbdTool *t)
{
    Objects *all = graph_objects(t->graph);

    for (guint i = 0; i < t->a.objects->len; i++)
        TRY(err_in(objects_add(all, t->a.objects->pdata[i]), "--object %s", (char *)t->a.objects->pdata[i]));
    if (t->a.tls_creds)
        TRY(err_in(tls_creds_find(all, t->a.tls_creds, !t->a.list, &t->tls), "--tls-creds"));
    return NULL;
}

static void work(void *arg)
{
    Run *r = arg;

    r->e = prepare(r->t);
    if (!r->e)
        r->e = r->t->a.list ? nbd_tool_list(r->t) : nbd_tool_serve(r->t);
}

static Err *activation(NbdTool *t)
{
    const NbdArgs *a = &t->a;

    t->activated = daemon_sockets();
    if (t->activated && (a->socket || a->port || a->bind || a->connect || a->list))
        return err(ERR_INVALID, "the socket comes from outside (LISTEN_FDS): -k, -p, -b, -c and --list make no sense");
    return NULL;
}

static Err *run(NbdTool *t)
{
    Run r = { t, NULL };

    for (guint i = 0; i < t->a.traces->len; i++)
        TRY(err_in(trace_option(t->a.traces->pdata[i]), "--trace"));
    TRY(activation(t));
    daemon_block_signals();
    if (t->a.fork)
        TRY(daemon_fork(&t->ready_fd));
    TRY(loop_new(0, &t->loop));
    t->graph = graph_new(t->loop);
    co_run(t->loop, work, &r);
    graph_free(t->graph);
    loop_free(t->loop);
    return r.e;
}

static Err *command(NbdTool *t, int argc, char **argv)
{
    TRY(nbd_args_parse(&t->a, argc, argv));
    if (t->a.help) {
        g_autofree char *text = nbd_args_help(t->program);
        fputs(text, stdout);
        return NULL;
    }
    if (t->a.version) {
        printf("%s, the NBD server of the Lyre emulator, version %s\n", t->program, LYRE_VERSION);
        return NULL;
    }
    if (asked_for_lists(&t->a))
        return NULL;
    TRY(nbd_args_check(&t->a));
    return t->a.disconnect ? nbd_device_disconnect(t->a.file) : run(t);
}

int main(int argc, char **argv)
{
    g_autofree char *program = g_path_get_basename(argc ? argv[0] : "lyre-nbd");
    NbdTool t = { .program = program, .ready_fd = -1 };

    g_set_prgname(program);
    Err *e = command(&t, argc, argv);
    if (fflush(stdout) && !e)
        e = err(ERR_IO, "cannot write to the standard output");
    nbd_args_clear(&t.a);
    if (t.activated)
        g_array_free(t.activated, TRUE);
    if (!e)
        return 0;
    err_report(e);
    return 1;
}
