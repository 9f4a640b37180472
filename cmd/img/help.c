/* SPDX-License-Identifier: MIT */
/*
 * --help, of the whole and of a subcommand, from the rows of table.c.
 */
#include "cmd/img/img.h"

#include <string.h>

#define COLUMN 34       /* where docs begin */

static void add_option(GString *s, const ImgOption *o)
{
    size_t start = s->len;

    g_string_append(s, "  ");
    if (o->letter)
        g_string_append_printf(s, "-%c, ", o->letter);
    if (o->other)
        g_string_append_printf(s, "-%c, ", o->other);
    g_string_append_printf(s, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    if (s->len - start >= COLUMN)
        g_string_append_printf(s, "\n%*s", COLUMN, "");
    else
        g_string_append_printf(s, "%*s", (int)(COLUMN - (s->len - start)), "");
    g_string_append_printf(s, "%s\n", o->doc);
}

static char *command_help(const char *program, const ImgCommand *c)
{
    GString *s = g_string_new(NULL);

    g_string_append_printf(s, "Usage: %s %s [OPTION]... %s\n%c%s.\n\n", program, c->name, c->operands,
                           g_ascii_toupper(c->doc[0]), c->doc + 1);
    for (const ImgOption *o = c->options; o->doc; o++)
        add_option(s, o);
    g_string_append_printf(s, "  -h, --help%*sthis text\n", COLUMN - 12, "");
    return g_string_free(s, FALSE);
}

static void add_formats(GString *s)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d))
        g_ptr_array_add(names, (void *)driver_name(d));
    g_string_append(s, "Supported formats:");
    for (guint i = 0; i < names->len; i++)
        g_string_append_printf(s, " %s", (const char *)names->pdata[i]);
    g_string_append(s, "\n");
}

char *img_help(const char *program, const ImgCommand *c)
{
    if (c)
        return command_help(program, c);
    GString *s = g_string_new(NULL);
    g_string_append_printf(s, "Usage: %s [OPTION]... COMMAND [OPTION]... FILE...\n"
                              "Makes, looks at and changes disk images. %s COMMAND --help says more.\n\n",
                           program, program);
    for (c = img_commands; c->name; c++)
        g_string_append_printf(s, "  %-10s%s\n", c->name, c->doc);
    g_string_append(s, "\n"
        "  -h, --help          this text\n"
        "  -V, --version       the version\n"
        "  -T, --trace PATTERN show trace points of the code; 'help' lists them\n\n"
        "Sizes are bytes; K, M, G, T, P, E behind a number are powers of 1024.\n");
    add_formats(s);
    return g_string_free(s, FALSE);
}
