/* SPDX-License-Identifier: MIT */
/*
 * Lines into commands. Words are what stands between blanks; nothing is quoted.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cmd/io/io.h"

int io_error(Err *e)
{
    fflush(stdout);
    err_report(e);
    return -EINVAL;
}

static const Command *find_command(const char *name)
{
    for (const Command *c = io_commands; c->name; c++)
        if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
            return c;
    return NULL;
}

static void print_oneline(const Command *c, const char *name)
{
    if (c->args)
        printf("%s %s -- %s\n", name, c->args, c->oneline);
    else
        printf("%s -- %s\n", name, c->oneline);
}

int io_usage(const char *name)
{
    const Command *c = find_command(name);

    print_oneline(c, c->name);
    return -EINVAL;
}

int io_help(Io *io, int argc, char **argv)
{
    const Command *c;

    if (argc == 1) {
        for (c = io_commands; c->name; c++)
            print_oneline(c, c->name);
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    c = find_command(argv[1]);
    if (!c) {
        printf("command %s not found\n", argv[1]);
        return -EINVAL;
    }
    print_oneline(c, argv[1]);
    if (c->help)
        fputs(c->help, stdout);
    return 0;
}

static int count_is_wrong(const Command *c, int n)
{
    fflush(stdout);
    if (c->max < 0)
        fprintf(stderr, "bad argument count %d to %s, expected at least %d arguments\n", n, c->name, c->min);
    else if (c->min == c->max)
        fprintf(stderr, "bad argument count %d to %s, expected %d arguments\n", n, c->name, c->min);
    else
        fprintf(stderr, "bad argument count %d to %s, expected between %d and %d arguments\n", n, c->name, c->min, c->max);
    return -EINVAL;
}

static int run_words(Io *io, int argc, char **argv)
{
    const Command *c = find_command(argv[0]);

    if (!c) {
        fflush(stdout);
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    if (!(c->flags & CMD_NO_FILE) && !io->disk) {
        fflush(stdout);
        fprintf(stderr, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (argc - 1 < c->min || (c->max >= 0 && argc - 1 > c->max))
        return count_is_wrong(c, argc - 1);
    if (c->flags & CMD_WRITES && node_read_only(disk_node(io->disk)))
        return io_error(err(ERR_INVALID, "Block node is read-only"));
    return c->run(io, argc, argv);
}

int io_command(Io *io, const char *line)
{
    g_auto(GStrv) parts = g_strsplit(line, " ", -1);
    g_autofree char **words = g_new0(char *, g_strv_length(parts) + 1);
    int n = 0, ret;

    for (char **p = parts; *p; p++)
        if (**p)
            words[n++] = *p;
    if (!n)
        return 0;
    ret = run_words(io, n, words);
    fflush(stdout);
    return ret;
}

/* ---- the interactive shell */

typedef struct Input {
    GString *text;              /* read, not yet taken */
    bool ended;
} Input;

/* Other coroutines run while nothing was typed. Files and the like are always ready, and cannot be waited for. */
static void wait_for_input(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

    if (poll(&p, 1, 0) <= 0)
        co_wait_fd(STDIN_FILENO, EPOLLIN);
}

/* The next line, without its end; NULL: no more. g_free it. */
static char *next_line(Input *in)
{
    char part[4096];
    ssize_t n;

    for (;;) {
        char *end = memchr(in->text->str, '\n', in->text->len);

        if (end || (in->ended && in->text->len)) {
            size_t len = end ? (size_t)(end - in->text->str) : in->text->len;
            char *line = g_strndup(in->text->str, len);

            g_string_erase(in->text, 0, (gssize)(end ? len + 1 : len));
            return line;
        }
        if (in->ended)
            return NULL;
        wait_for_input();
        n = read(STDIN_FILENO, part, sizeof(part));
        if (n > 0)
            g_string_append_len(in->text, part, n);
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            in->ended = true;
    }
}

int io_shell(Io *io, const char *prompt)
{
    Input in = { .text = g_string_new(NULL) };
    int ret = 0;

    while (!io->quit) {
        printf("%s> ", prompt);
        fflush(stdout);
        g_autofree char *line = next_line(&in);
        if (!line)
            break;
        int now = io_command(io, line);
        ret = ret ? ret : now;
    }
    g_string_free(in.text, TRUE);
    return ret;
}
