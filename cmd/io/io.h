/* SPDX-License-Identifier: MIT */
/*
 * lyre-io inside: an exerciser of disks with qemu-io's commands and output.
 * An Io is the open disk and what is asked of it; a command is a row of a
 * table (cmds.c) and runs in the one coroutine of the shell. Private to cmd/io/.
 *
 * Output is qemu-io 7.2's to the byte, so that scripts which read that read
 * this: results and most complaints go to stdout, the rest to stderr.
 */
#ifndef CMD_IO_IO_H
#define CMD_IO_IO_H

#include <glib.h>

#include "block/block.h"

typedef struct Io {
    Loop *loop;
    BlockGraph *graph;
    Disk *disk;                 /* NULL: none is open */
    bool image_opts, misalign, quit;
    unsigned aio_running;
    CoQueue aio_idle;           /* who waits for aio_running to become 0 */
} Io;

typedef enum CommandFlags {
    CMD_NO_FILE = 1,            /* needs no open disk */
    CMD_WRITES = 2,             /* a read-only disk refuses it */
} CommandFlags;

typedef struct Command {
    const char *name, *alias;
    const char *args, *oneline; /* "[-Cq] off len", "reads .." */
    const char *help;           /* the rest of `help NAME`, or NULL */
    int min, max;               /* arguments; max -1: any number */
    unsigned flags;
    int (*run)(Io *, int argc, char **argv);    /* 0 or -errno: what failed is said already */
} Command;

extern const Command io_commands[];             /* sorted by name; ended by one without a name */

/* ---- shell.c */

/* Runs a line. 0 or -errno. */
int io_command(Io *io, const char *line);
/* Reads lines until the end or `quit`; the first error that a command had. */
int io_shell(Io *io, const char *prompt);
/* "NAME ARGS -- ONELINE": when a command's words make no sense. -EINVAL */
int io_usage(const char *name);
/* Prints "lyre-io: MESSAGE" and the hint to stderr. -EINVAL */
int io_error(Err *e);

/* ---- text.c */

/* Longest request: what fits a 31-bit count of bytes, in sectors of 512. */
#define IO_MAX_LENGTH 2147483136u

/* "64 KiB", "3.500 KiB", "52.299262 bytes". */
void io_size_text(double bytes, char *out, size_t len);
/* A size that a command is given, complaining where it is none; UINT64_MAX then. */
uint64_t io_number(const char *text);
/* The same for a length of a request. */
bool io_length(const char *text, uint64_t *out);
/* 0..255, or -1 with a complaint. */
int io_pattern(const char *text);
/* "00000010:  00 ..  ..." */
void io_dump(const uint8_t *buf, uint64_t offset, size_t len);
/* The two lines behind a request, or the one line of -C. */
void io_report(const char *did, int64_t ns, uint64_t offset, uint64_t count, uint64_t total, bool terse);

/* ---- the commands, by subject */

/* In whole sectors, as all commands see it. */
uint64_t io_size(const Disk *d);

int io_read(Io *io, int argc, char **argv);
int io_write(Io *io, int argc, char **argv);
int io_readv(Io *io, int argc, char **argv);
int io_writev(Io *io, int argc, char **argv);
int io_discard(Io *io, int argc, char **argv);

int io_aio_read(Io *io, int argc, char **argv);
int io_aio_write(Io *io, int argc, char **argv);
int io_aio_flush(Io *io, int argc, char **argv);
/* Waits until no asynchronous request runs. */
void io_aio_wait(Io *io);

int io_open(Io *io, int argc, char **argv);
int io_close(Io *io, int argc, char **argv);
int io_reopen(Io *io, int argc, char **argv);

/* How an image is to be opened, from the command line or from `open`. */
typedef struct OpenArgs {
    const char *format, *options;   /* options: "driver=raw,.."; format and options may be NULL */
    const char *cache, *discard, *aio;
    bool read_only, snapshot, nocache, copy_on_read, native, share;
    bool image_opts;                /* the name is such a list, too */
} OpenArgs;
/* The letters that both know; false: not one of them. */
#define IO_OPEN_LETTERS "rsnCkUt:d:i:"
bool io_open_option(OpenArgs *a, int letter, const char *arg);
/* Complains and returns -EINVAL. `name` may be NULL when options say it all. */
int io_open_image(Io *io, const OpenArgs *a, const char *name);
void io_close_image(Io *io);

int io_flush(Io *io, int argc, char **argv);
int io_truncate(Io *io, int argc, char **argv);
int io_length_of(Io *io, int argc, char **argv);
int io_info(Io *io, int argc, char **argv);
int io_alloc(Io *io, int argc, char **argv);
int io_map(Io *io, int argc, char **argv);
int io_break(Io *io, int argc, char **argv);
int io_remove_break(Io *io, int argc, char **argv);
int io_resume(Io *io, int argc, char **argv);
int io_wait_break(Io *io, int argc, char **argv);
int io_sleep(Io *io, int argc, char **argv);
int io_sigraise(Io *io, int argc, char **argv);
int io_abort(Io *io, int argc, char **argv);
int io_quit(Io *io, int argc, char **argv);
int io_help(Io *io, int argc, char **argv);

/* ---- a request's words, parsed (rw.c, aio.c) */

typedef struct Request {
    const char *name;           /* of the command */
    uint64_t off, len;
    bool terse, quiet, dump, zero, unmap, no_fallback, fua, compress, vm_state, invalid;
    bool has_pattern, has_start, has_check_len;
    uint8_t pattern;
    uint64_t check_start, check_len;
    const char *source;         /* -s FILE */
    uint8_t *buf;
    struct iovec *v;
    unsigned nv;
    int64_t began;
} Request;

/* `letters` as for getopt. 0 or a negative errno, complained about. */
int request_options(Request *r, int argc, char **argv, const char *letters);
/* argv[optind]: offset; the rest: lengths, one or several. */
int request_range(Request *r, int argc, char **argv, bool several);
/* The buffer, filled with `byte` or from -s, cut into the vector of the lengths. */
int request_buffer(Io *io, Request *r, int argc, char **argv, int byte);
void request_clear(Io *io, Request *r);
IoVec request_iov(const Request *r);
int request_read(Disk *d, Request *r);
int request_write(Disk *d, Request *r);
/* Compares with -P: -EINVAL and a line when it differs. */
int request_verify(const Request *r);

#endif
