/* SPDX-License-Identifier: MIT */
/*
 * Direct edges between units: patched jumps and calls. An edge inside a page goes
 * to the target's plain entry; one to another page goes to its checked entry,
 * which looks whether the page is still mapped there.
 */
#include "accel/jit/jit.h"

void exit_link(Jit *j, Exit *x, Unit *to)
{
    if (x->to)
        exit_unlink(j, x);
    x->to = to;
    x->next = to->incoming;
    x->at = &to->incoming;
    if (x->next)
        x->next->at = &x->next;
    to->incoming = x;
    x64_link(j->rw + x->patch, j->delta, x->cross ? to->host_checked : to->host);
}

void exit_unlink(Jit *j, Exit *x)
{
    if (!x->to)
        return;
    *x->at = x->next;
    if (x->next)
        x->next->at = x->at;
    x->to = NULL;
    x64_link(j->rw + x->patch, j->delta, j->rw + x->stub + j->delta);
}

void unit_unlink(Jit *j, Unit *u)
{
    while (u->incoming)
        exit_unlink(j, u->incoming);
    for (int i = 0; i < u->nexits; i++)
        exit_unlink(j, &u->exits[i]);
}
