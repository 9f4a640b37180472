/* SPDX-License-Identifier: MIT */
/*
 * The command `lyre run`: its options, and what it tells before the guest has
 * the terminal.
 */
#include "cmd/run/run.h"

#include <stdio.h>
#include <string.h>

const char run_help[] =
    "Usage: lyre run [OPTION]... DISK|ISO|KERNEL [-- EMULATOR-OPTION...]\n"
    "Runs it on a machine that suits it, with network, ssh and the console in this terminal.\n"
    "\n"
    "      --ssh PORT        forward PORT of this host to the guest's ssh (a free one from 2222 on); none: not at all\n"
    "      --share DIR       give the guest this folder: mount -t 9p share /mnt\n"
    "      --disk FILE       another disk (several times)\n"
    "  -m, --memory SIZE     memory (half of the host's, at most 2G)\n"
    "  -c, --cpus N          processors (the host's, at most 4)\n"
    "  -k, --kernel FILE     start this kernel, with the disk as its root\n"
    "      --initrd FILE     with this initial file system\n"
    "      --append TEXT     and this command line (console=ttyS0 root=/dev/vda rw)\n"
    "      --firmware NAME   u-boot, edk2, or a file: what looks for the boot loader on a disk\n"
    "      --isa NAME        the kind of machine, where the file does not tell\n"
    "      --snapshot        forget what the guest writes\n"
    "      --explain         print the emulator's whole command line, and end\n"
    "  -h, --help            this text\n"
    "\n"
    "Ctrl-A x ends the machine, Ctrl-A h lists more.\n";

typedef struct RunOption { const char *name, *brief; size_t at; enum { TEXT, FLAG, LIST } kind; } RunOption;
#define AT(m) offsetof(RunArgs, m)
static const RunOption options[] = {
    { "--ssh", NULL, AT(ssh), TEXT }, { "--share", NULL, AT(share), TEXT }, { "--disk", NULL, AT(disks), LIST },
    { "--memory", "-m", AT(memory), TEXT }, { "--cpus", "-c", AT(cpus), TEXT }, { "--kernel", "-k", AT(kernel), TEXT },
    { "--initrd", NULL, AT(initrd), TEXT }, { "--append", NULL, AT(append), TEXT }, { "--firmware", NULL, AT(firmware), TEXT },
    { "--isa", NULL, AT(isa), TEXT }, { "--snapshot", NULL, AT(snapshot), FLAG }, { "--explain", NULL, AT(explain), FLAG },
    { "--help", "-h", AT(help), FLAG },
};

static Err *unknown(const char *word)
{
    const char *names[G_N_ELEMENTS(options) + 1] = { NULL };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        names[i] = options[i].name;
    const char *near = nearest_name(word, names);
    Err *e = err(ERR_NOT_FOUND, "lyre run has no option '%s'", word);
    return near ? err_hint(e, "Did you mean %s?", near)
                : err_hint(e, "The emulator's own options come behind --; lyre run --help lists these.");
}

/* `--name value` or `--name=value`; i is at the word, and goes to its last one. */
static Err *take(RunArgs *a, const RunOption *o, int argc, char **argv, int *i)
{
    const char *is = argv[*i][1] == '-' ? strchr(argv[*i], '=') : NULL, *value = is ? is + 1 : NULL;
    void *at = (char *)a + o->at;

    if (o->kind == FLAG) {
        if (value)
            return err(ERR_INVALID, "%s has no value", o->name);
        *(bool *)at = true;
        return NULL;
    }
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value || !*value)
        return err(ERR_INVALID, "%s needs a value", o->name);
    if (o->kind == LIST) {
        g_ptr_array_add(*(GPtrArray **)at, g_strdup(value));
    } else {
        g_free(*(char **)at);
        *(char **)at = g_strdup(value);
    }
    return NULL;
}

static const RunOption *find(const char *word)
{
    size_t len = word[1] == '-' ? strcspn(word, "=") : strlen(word);

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        const RunOption *o = &options[i];

        if ((strlen(o->name) == len && !strncmp(o->name, word, len)) || (o->brief && !strcmp(o->brief, word)))
            return o;
    }
    return NULL;
}

Err *run_args_parse(RunArgs *a, int argc, char **argv)
{
    *a = (RunArgs){ .disks = g_ptr_array_new_with_free_func(g_free) };
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--")) {
            a->rest = argv + i + 1;
            break;
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            const RunOption *o = find(argv[i]);

            TRY(o ? take(a, o, argc, argv, &i) : unknown(argv[i]));
        } else if (a->file) {
            return err_hint(err(ERR_INVALID, "one file is run, and there are two: '%s' and '%s'", a->file, argv[i]),
                            "Further disks: --disk %s", argv[i]);
        } else {
            a->file = g_strdup(argv[i]);
        }
    }
    if (!a->file && !a->help)
        return err_hint(err(ERR_INVALID, "lyre run needs a disk image, an ISO or a kernel"), "lyre run --help says more.");
    return NULL;
}

void run_args_clear(RunArgs *a)
{
    char *const texts[] = { a->file, a->isa, a->memory, a->cpus, a->share, a->initrd, a->append, a->firmware, a->kernel, a->ssh };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    if (a->disks)
        g_ptr_array_free(a->disks, TRUE);
}

/* On stderr: stdout is the guest's console. */
static void tell(const RunArgs *a, const Media *m, const RunPlan *p)
{
    static const char *const kinds[] = { "disk", "installer or live system", "kernel" };

    fprintf(stderr, "lyre: %s is a %s %s%s%s%s\n", a->file, p->isa, kinds[m->kind],
            m->format[0] ? " (" : "", m->format, m->format[0] ? ")" : "");
    if (p->ssh_port)
        fprintf(stderr, "lyre: ssh:     ssh -p %u root@localhost (when the guest runs an ssh server)\n", p->ssh_port);
    if (a->share)
        fprintf(stderr, "lyre: folder:  mount -t 9p share /mnt, in the guest\n");
    fprintf(stderr, "lyre: console: this terminal; Ctrl-A x ends the machine\n");
}

Err *run_command(int argc, char **argv, RunPlan *out, bool *go)
{
    Media m = { 0 };
    RunArgs a;
    Err *e = run_args_parse(&a, argc, argv);

    *out = (RunPlan){ 0 };
    *go = false;
    if (!e && a.help)
        fputs(run_help, stdout);
    if (!e && !a.help)
        e = media_look(a.file, &m);
    if (!e && !a.help)
        e = run_plan(&a, &m, &run_this_host, out);
    if (!e && a.explain) {
        g_autofree char *text = run_plan_text(out);

        fputs(text, stdout);
        run_plan_clear(out);
    } else if (!e && out->argv) {
        tell(&a, &m, out);
        *go = true;
    }
    run_args_clear(&a);
    return e;
}
