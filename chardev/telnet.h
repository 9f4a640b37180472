/* SPDX-License-Identifier: MIT */
/*
 * The telnet protocol's part in a byte stream (RFC 854, 856, 857, 858): what we
 * offer at the start, taking commands out of the input, doubling 0xff in the output.
 */
#ifndef CHARDEV_TELNET_H
#define CHARDEV_TELNET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Telnet {
    enum { TEL_DATA, TEL_IAC, TEL_OPTION, TEL_SUB, TEL_SUB_IAC } state;
    uint8_t command;            /* TEL_OPTION: WILL, WONT, DO or DONT */
    bool binary;                /* the peer sends plain bytes: CR needs no NUL behind it */
    bool after_cr;
} Telnet;

/* What to send first: character at a time, no local echo, all 8 bits. Returns its length. */
int telnet_hello(const uint8_t **bytes);
/* Removes commands in place; returns the bytes left. *breaks counts the breaks seen. */
int telnet_input(Telnet *t, uint8_t *buf, int n, int *breaks);

#endif
