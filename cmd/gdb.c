/* SPDX-License-Identifier: MIT */
/*
 * `lyre gdb [FILE]`: becomes gdb, connected to a machine that was started with
 * -s or -gdb, with what debugging a whole machine needs set before. By default
 * gdb takes its target for a Linux program: then it steps by breakpoints, and
 * does not know where sret leads.
 */
#include "cmd/gdb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/err.h"
#include "util/path.h"

static const char help[] =
    "Usage: lyre gdb [OPTION]... [FILE] [-- GDB-OPTION...]\n"
    "Starts gdb on a machine that runs with -s (or -gdb), with the symbols of FILE: vmlinux, any ELF file,\n"
    "or a kernel's symbols as text: what the guest has in /proc/kallsyms (root: echo 0 > /proc/sys/kernel/kptr_restrict), System.map.\n"
    "\n"
    "      --at WHERE     where the machine listens: PORT, HOST:PORT, or a socket's path (1234)\n"
    "      --gdb PROGRAM  the debugger (gdb-multiarch, or gdb)\n"
    "      --explain      print the debugger's whole command line, and end\n"
    "  -h, --help         this text\n"
    "\n"
    "In gdb: 'break start_kernel' works before the kernel is loaded; 'monitor help' lists what else there is.\n";

typedef struct Args { const char *file, *at, *program; char **rest; bool explain, help; } Args;

static Err *take(Args *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], **value = !strcmp(word, "--at") ? &a->at : !strcmp(word, "--gdb") ? &a->program : NULL;

        if (!strcmp(word, "--")) {
            a->rest = argv + i + 1;
            return NULL;
        }
        if (value) {
            if (i + 1 == argc)
                return err(ERR_INVALID, "%s needs a value", word);
            *value = argv[++i];
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            a->help = true;
        } else if (!strcmp(word, "--explain")) {
            a->explain = true;
        } else if (word[0] == '-') {
            return err_hint(err(ERR_NOT_FOUND, "lyre gdb has no option '%s'", word), "gdb's own options come behind --; see lyre gdb --help.");
        } else if (a->file) {
            return err(ERR_INVALID, "there are two files, '%s' and '%s'", a->file, word);
        } else {
            a->file = word;
        }
    }
    return NULL;
}

static Err *find_program(const Args *a, char **out)
{
    static const char *const names[] = { "gdb-multiarch", "riscv64-linux-gnu-gdb", "riscv64-unknown-elf-gdb", "gdb" };

    if (a->program) {
        *out = g_find_program_in_path(a->program);
        return *out ? NULL : err(ERR_NOT_FOUND, "--gdb %s: there is no such program", a->program);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if ((*out = g_find_program_in_path(names[i])) != NULL)
            return NULL;
    return err_hint(err(ERR_NOT_FOUND, "no gdb is installed"), "apt install gdb-multiarch");
}

static void add(GPtrArray *argv, const char *option, char *value)
{
    g_ptr_array_add(argv, g_strdup(option));
    g_ptr_array_add(argv, value);
}

static bool is_port(const char *s)
{
    return *s && !s[strspn(s, "0123456789")];
}

/* symbols: FILE, or what was made of it. */
static GPtrArray *plan(const Args *a, const char *program, const char *symbols)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    const char *at = a->at ? a->at : "1234";

    g_ptr_array_add(argv, g_strdup(program));
    g_ptr_array_add(argv, g_strdup("-q"));
    add(argv, "-iex", g_strdup("set osabi none"));
    if (a->file) {
        /* The kernel's own scripts lie beside its vmlinux. */
        g_autofree char *whole = g_canonicalize_filename(a->file, NULL), *dir = g_path_get_dirname(whole);
        add(argv, "-iex", g_strdup_printf("add-auto-load-safe-path %s", dir));
    }
    add(argv, "-ex", g_strdup_printf("target remote %s%s", is_port(at) ? "localhost:" : "", at));
    for (char **r = a->rest; r && *r; r++)
        g_ptr_array_add(argv, g_strdup(*r));
    if (symbols)
        g_ptr_array_add(argv, g_strdup(symbols));
    g_ptr_array_add(argv, NULL);
    return argv;
}

static void explain(const GPtrArray *argv)
{
    for (guint i = 0; i + 1 < argv->len; i++) {
        g_autofree char *q = g_shell_quote(argv->pdata[i]);

        printf("%s%s", i ? " " : "", q);
    }
    printf("\n");
}

/* Could somebody else listen at that port? To connect would tell more, and stop the machine. */
static bool port_is_free(const char *port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(g_ascii_strtoull(port, NULL, 10)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

    if (fd >= 0)
        close(fd);
    return is;
}

static void note_silence(const char *at)
{
    if (is_port(at) ? port_is_free(at) : at[0] == '/' && access(at, F_OK) < 0)
        err_note("nothing listens at %s%s yet: a machine does that is started with %s%s%s. gdb tries for a while", is_port(at) ? "port " : "", at,
                 !strcmp(at, "1234") ? "-s" : "-gdb ", !strcmp(at, "1234") ? "" : is_port(at) ? "tcp::" : "unix:", !strcmp(at, "1234") ? "" : at);
}

static bool is_elf(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "re");
    bool is = f && fread(magic, 1, sizeof(magic), f) == sizeof(magic) && !memcmp(magic, "\177ELF", sizeof(magic));

    if (f)
        fclose(f);
    return is;
}

static Err *start(const Args *a)
{
    g_autofree char *program = NULL, *symbols = g_strdup(a->file);

    if (a->file && access(a->file, R_OK) < 0)
        return err_path(errno, a->file, "cannot read '%s'", a->file);
    TRY(find_program(a, &program));
    if (a->file && gdb_symbols_are_text(a->file)) {
        g_clear_pointer(&symbols, g_free);
        TRY(gdb_symbols_to_elf(a->file, &symbols));
    } else if (a->file && !is_elf(a->file)) {
        return err_hint(err(ERR_INVALID, "'%s' has no symbols: it is neither an ELF file nor a list of symbols", a->file),
                        "Of a kernel, vmlinux has them, or what the guest has in /proc/kallsyms; Image and vmlinuz have not.");
    }
    if (!a->explain)
        note_silence(a->at ? a->at : "1234");
    GPtrArray *argv = plan(a, program, symbols);
    Err *e = NULL;
    if (a->explain) {
        explain(argv);
    } else {
        execv(program, (char **)argv->pdata);
        e = err_errno(errno, "cannot start %s", program);
    }
    g_ptr_array_free(argv, TRUE);
    return e;
}

int gdb_command(int argc, char **argv)
{
    Args a = { NULL };
    Err *e = take(&a, argc, argv);

    if (!e && a.help)
        fputs(help, stdout);
    else if (!e)
        e = start(&a);
    if (e)
        err_report(e);
    return e != NULL;
}
