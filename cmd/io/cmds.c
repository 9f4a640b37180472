/* SPDX-License-Identifier: MIT */
/*
 * The table of commands, sorted by name.
 */
#include "cmd/io/io.h"

#define PATTERN_FILL                                                        \
    "\n Writes into a segment of the currently open file, using a buffer\n" \
    " filled with a set pattern (0xcdcdcdcd).\n"
#define DUMP_WORDS                                                          \
    "\n Reads a segment of the currently open file, optionally dumping it to the\n" \
    " standard output stream (with -v option) for subsequent inspection.\n"
#define AIO_WORDS(verb)                                                     \
    " The " verb " is performed asynchronously and the aio_flush command must be\n" \
    " used to ensure all outstanding aio requests have been completed.\n"   \
    " Note that due to its asynchronous nature, this command will be\n"     \
    " considered successful once the request is submitted, independently\n" \
    " of potential I/O errors or pattern mismatches.\n"
#define OPT_C " -C, -- report statistics in a machine parsable format\n"
#define OPT_F " -f, -- use Force Unit Access semantics\n"
#define OPT_I " -i, -- treat request as invalid, for exercising stats\n"
#define OPT_Q " -q, -- quiet mode, do not show I/O statistics\n"
#define OPT_U " -u, -- with -z, allow unmapping\n"
#define OPT_V " -v, -- dump buffer to standard output\n"
#define OPT_PR " -P, -- use a pattern to verify read data\n"
#define OPT_PW " -P, -- use different pattern to fill file\n"

static const char read_help[] =
    "\n reads a range of bytes from the given offset\n\n Example:\n"
    " 'read -v 512 1k' - dumps 1 kilobyte read from 512 bytes into the file\n" DUMP_WORDS
    " -b, -- read from the VM state rather than the virtual disk\n" OPT_C
    " -l, -- length for pattern verification (only with -P)\n"
    " -p, -- ignored for backwards compatibility\n" OPT_PR OPT_Q
    " -s, -- start offset for pattern verification (only with -P)\n" OPT_V "\n";

static const char write_help[] =
    "\n writes a range of bytes from the given offset\n\n Example:\n"
    " 'write 512 1k' - writes 1 kilobyte at 512 bytes into the open file\n" PATTERN_FILL
    " -b, -- write to the VM state rather than the virtual disk\n"
    " -c, -- write compressed data with blk_write_compressed\n" OPT_F
    " -n, -- with -z, don't allow slow fallback\n"
    " -p, -- ignored for backwards compatibility\n" OPT_PW
    " -s, -- use a pattern file to fill the write buffer\n" OPT_C OPT_Q OPT_U
    " -z, -- write zeroes using blk_co_pwrite_zeroes\n\n";

static const char readv_help[] =
    "\n reads a range of bytes from the given offset into multiple buffers\n\n Example:\n"
    " 'readv -v 512 1k 1k ' - dumps 2 kilobytes read from 512 bytes into the file\n" DUMP_WORDS
    " Uses multiple iovec buffers if more than one byte range is specified.\n" OPT_C OPT_PR OPT_V OPT_Q "\n";

static const char writev_help[] =
    "\n writes a range of bytes from the given offset source from multiple buffers\n\n Example:\n"
    " 'writev 512 1k 1k' - writes 2 kilobytes at 512 bytes into the open file\n" PATTERN_FILL
    OPT_PW OPT_C OPT_F OPT_Q "\n";

static const char aio_read_help[] =
    "\n asynchronously reads a range of bytes from the given offset\n\n Example:\n"
    " 'aio_read -v 512 1k 1k ' - dumps 2 kilobytes read from 512 bytes into the file\n" DUMP_WORDS
    AIO_WORDS("read") OPT_C OPT_PR OPT_I OPT_V OPT_Q "\n";

static const char aio_write_help[] =
    "\n asynchronously writes a range of bytes from the given offset source\n from multiple buffers\n\n Example:\n"
    " 'aio_write 512 1k 1k' - writes 2 kilobytes at 512 bytes into the open file\n" PATTERN_FILL
    AIO_WORDS("write") OPT_PW OPT_C OPT_F OPT_I OPT_Q OPT_U
    " -z, -- write zeroes using blk_aio_pwrite_zeroes\n\n";

static const char discard_help[] =
    "\n discards a range of bytes from the given offset\n\n Example:\n"
    " 'discard 512 1k' - discards 1 kilobyte from 512 bytes into the file\n"
    "\n Discards a segment of the currently open file.\n" OPT_C OPT_Q "\n";

static const char open_help[] =
    "\n opens a new file in the requested mode\n\n Example:\n"
    " 'open -n -o driver=raw /tmp/data' - opens raw data file read-write, uncached\n"
    "\n Opens a file for subsequent use by all of the other lyre-io commands.\n"
    " -r, -- open file read-only\n"
    " -s, -- use snapshot file\n"
    " -C, -- use copy-on-read\n"
    " -n, -- disable host cache, short for -t none\n"
    " -U, -- force shared permissions\n"
    " -k, -- use kernel AIO implementation (Linux only, prefer use of -i)\n"
    " -i, -- use AIO mode (threads, native or io_uring)\n"
    " -t, -- use the given cache mode for the image\n"
    " -d, -- use the given discard mode for the image\n"
    " -o, -- options to be given to the block driver\n";

static const char reopen_help[] =
    "\n Changes the open options of an already opened image\n\n Example:\n"
    " 'reopen -o lazy-refcounts=on' - activates lazy refcount writeback on a qcow2 image\n"
    "\n -r, -- Reopen the image read-only\n"
    " -w, -- Reopen the image read-write\n"
    " -c, -- Change the cache mode to the given value\n"
    " -o, -- Changes block driver options (cf. 'open' command)\n\n";

static const char sigraise_help[] =
    "\n raises the given signal\n\n Example:\n"
    " 'sigraise 15' - raises SIGTERM\n"
    "\n Invokes raise(signal), where \"signal\" is the mandatory integer argument\n"
    " given to sigraise.\n\n";

const Command io_commands[] = {
    { "abort", NULL, NULL, "simulate a program crash using abort(3)", NULL, 0, 0, CMD_NO_FILE, io_abort },
    { "aio_flush", NULL, NULL, "completes all outstanding aio requests", NULL, 0, 0, 0, io_aio_flush },
    { "aio_read", NULL, "[-Ciqv] [-P pattern] off len [len..]", "asynchronously reads a number of bytes",
      aio_read_help, 2, -1, 0, io_aio_read },
    { "aio_write", NULL, "[-Cfiquz] [-P pattern] off len [len..]", "asynchronously writes a number of bytes",
      aio_write_help, 2, -1, CMD_WRITES, io_aio_write },
    { "alloc", "a", "offset [count]", "checks if offset is allocated in the file", NULL, 1, 2, 0, io_alloc },
    { "break", NULL, "event tag", "sets a breakpoint on event and tags the stopped request as tag", NULL, 2, 2, 0,
      io_break },
    { "close", "c", NULL, "close the current open file", NULL, 0, 0, 0, io_close },
    { "discard", "d", "[-Cq] off len", "discards a number of bytes at a specified offset", discard_help, 2, -1,
      CMD_WRITES, io_discard },
    { "flush", "f", NULL, "flush all in-core file state to disk", NULL, 0, 0, 0, io_flush },
    { "help", "?", "[command]", "help for one or all commands", NULL, 0, 1, CMD_NO_FILE, io_help },
    { "info", "i", NULL, "prints information about the current file", NULL, 0, 0, 0, io_info },
    { "length", "l", NULL, "gets the length of the current file", NULL, 0, 0, 0, io_length_of },
    { "map", NULL, "", "prints the allocated areas of a file", NULL, 0, 0, 0, io_map },
    { "open", "o", "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
      open_help, 1, -1, CMD_NO_FILE, io_open },
    { "quit", "q", NULL, "exit the program", NULL, 0, 0, CMD_NO_FILE, io_quit },
    { "read", "r", "[-abCqv] [-P pattern [-s off] [-l len]] off len", "reads a number of bytes at a specified offset",
      read_help, 2, -1, 0, io_read },
    { "readv", NULL, "[-Cqv] [-P pattern] off len [len..]", "reads a number of bytes at a specified offset",
      readv_help, 2, -1, 0, io_readv },
    { "remove_break", NULL, "tag", "remove a breakpoint by tag", NULL, 1, 1, 0, io_remove_break },
    { "reopen", NULL, "[(-r|-w)] [-c cache] [-o options]", "reopens an image with new options", reopen_help, 0, -1, 0,
      io_reopen },
    { "resume", NULL, "tag", "resumes the request tagged as tag", NULL, 1, 1, 0, io_resume },
    { "sigraise", NULL, "signal", "raises a signal", sigraise_help, 1, 1, CMD_NO_FILE, io_sigraise },
    { "sleep", NULL, NULL, "waits for the given value in milliseconds", NULL, 1, 1, CMD_NO_FILE, io_sleep },
    { "truncate", "t", "[-m prealloc_mode] off", "truncates the current file at the given offset", NULL, 1, 3,
      CMD_WRITES, io_truncate },
    { "wait_break", NULL, "tag", "waits for the suspension of a request", NULL, 1, 1, 0, io_wait_break },
    { "write", "w", "[-bcCfnquz] [-P pattern | -s source_file] off len",
      "writes a number of bytes at a specified offset", write_help, 2, -1, CMD_WRITES, io_write },
    { "writev", NULL, "[-Cfq] [-P pattern] off len [len..]", "writes a number of bytes at a specified offset",
      writev_help, 2, -1, CMD_WRITES, io_writev },
    { 0 }
};
