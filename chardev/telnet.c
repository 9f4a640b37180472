/* SPDX-License-Identifier: MIT */
/*
 * Telnet: see chardev/telnet.h. We state what we do and never answer, so that
 * no negotiation can loop.
 */
#include "chardev/telnet.h"

enum {
    SE = 240, BRK = 243, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254, IAC = 255,
    OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3,
};

int telnet_hello(const uint8_t **bytes)
{
    static const uint8_t hello[] = {
        IAC, WILL, OPT_ECHO, IAC, WILL, OPT_SGA, IAC, WILL, OPT_BINARY, IAC, DO, OPT_BINARY,
    };

    *bytes = hello;
    return sizeof(hello);
}

/* One byte; true if it is data. */
static bool telnet_byte(Telnet *t, uint8_t ch, int *breaks)
{
    bool cr = t->after_cr;

    switch (t->state) {
    case TEL_DATA:
        t->after_cr = ch == '\r';
        if (ch == IAC) {
            t->state = TEL_IAC;
            return false;
        }
        return !(cr && ch == 0 && !t->binary);
    case TEL_IAC:
        t->state = TEL_DATA;
        if (ch == IAC)
            return true;
        if (ch >= WILL) {
            t->command = ch;
            t->state = TEL_OPTION;
        } else if (ch == SB) {
            t->state = TEL_SUB;
        } else if (ch == BRK) {
            (*breaks)++;
        }
        return false;
    case TEL_OPTION:
        if (ch == OPT_BINARY && (t->command == WILL || t->command == WONT))
            t->binary = t->command == WILL;
        t->state = TEL_DATA;
        return false;
    case TEL_SUB:
        if (ch == IAC)
            t->state = TEL_SUB_IAC;
        return false;
    case TEL_SUB_IAC:
        t->state = ch == SE ? TEL_DATA : TEL_SUB;
        return false;
    }
    return false;
}

int telnet_input(Telnet *t, uint8_t *buf, int n, int *breaks)
{
    int k = 0;

    for (int i = 0; i < n; i++) {
        if (telnet_byte(t, buf[i], breaks))
            buf[k++] = buf[i];
    }
    return k;
}
