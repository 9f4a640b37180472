/* SPDX-License-Identifier: MIT */
/*
 * The emulator's main(). The name it was started by chooses the guest.
 */
#include <glib.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    char *name = g_path_get_basename(argv[0]);

    g_set_prgname(name);
    g_free(name);
    printf("%s version %s\n", g_get_prgname(), LYRE_VERSION);
    return 0;
}
