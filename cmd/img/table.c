/* SPDX-License-Identifier: MIT */
/*
 * The subcommands of lyre-img and their options: a row for each. Letters and
 * long names are qemu-img's; where QEMU 10.1 gave an option another letter both
 * are there (`other`).
 */
#include "cmd/img/img.h"

#include <stddef.h>
#include <string.h>

const char *const img_cache_names[] = { "none", "writeback", "writethrough", "directsync", "unsafe", NULL };
static const char *const output_names[] = { "human", "json", NULL };
static const char *const repair_names[] = { "leaks", "all", NULL };
static const char *const prealloc_mode_names[] = { "off", "metadata", "falloc", "full", NULL };
static const char *const aio_names[] = { "threads", "io_uring", "native", NULL };

#define AT(kind_, member) .kind = kind_, .offset = offsetof(ImgArgs, member)
#define FLAG(member) AT(IMG_FLAG, member)
#define TEXT(member) AT(IMG_TEXT, member)
#define NAME(member, table) AT(IMG_NAME, member), .names = table
#define SIZE(member) AT(IMG_SIZE, member)
#define HAS(member) .has = offsetof(ImgArgs, member)

/* ---- rows that several commands have */

#define FORMAT { 'f', 0, "format", "FMT", TEXT(format), .doc = "format of FILE; it is recognised without" }
#define IMAGE_OPTS { 0, 0, "image-opts", NULL, FLAG(image_opts), \
                     .doc = "FILE is a list of options (driver=qcow2,file.filename=..), no name" }
#define OBJECT { 0, 0, "object", "KIND,id=ID[,..]", AT(IMG_LIST, objects), \
                 .doc = "defines an object: a secret, TLS credentials; 'help' lists the kinds" }
#define QUIET { 'q', 0, "quiet", NULL, FLAG(quiet), .doc = "print errors alone" }
#define PROGRESS { 'p', 0, "progress", NULL, FLAG(progress), .doc = "show how far it is (on a terminal it always does)" }
#define SHARE { 'U', 0, "force-share", NULL, FLAG(share), \
                .doc = "read images that others have open for writing" }
#define OUTPUT { 0, 0, "output", "human|json", NAME(output, output_names), .doc = "for people (default) or programs" }
#define CACHE(letter_, name_, member, doc_) { letter_, 0, name_, "MODE", NAME(member, img_cache_names), .doc = doc_ }
#define FORCE(doc_) { 0, 0, "force", NULL, FLAG(force), .doc = doc_ }
#define INSIST FORCE("do it even if other images depend on what is overwritten")
#define END { 0 }

/* ---- the commands' own */

static const ImgOption amend_options[] = {
    { 'o', 0, "options", "NAME=VALUE[,..]", AT(IMG_JOIN, options), .doc = "what to change; 'help' lists what can be" },
    FORMAT, IMAGE_OPTS,
    CACHE('t', "cache", cache, "cache mode: none, writeback (default), writethrough, directsync, unsafe"),
    FORCE("also what may lose data: erase the last key of an encrypted image"),
    PROGRESS, QUIET, OBJECT, END
};

static const ImgOption bench_options[] = {
    { 'c', 0, "count", "N", AT(IMG_NUM, count), .min = 1, .max = INT32_MAX, .doc = "requests in all (75000)" },
    { 'd', 0, "depth", "N", AT(IMG_NUM, depth), .min = 1, .max = 65536, .doc = "requests at the same time (64)" },
    { 's', 0, "buffer-size", "SIZE", SIZE(buffer), .min = 1, .max = INT32_MAX, .doc = "bytes of each request (4K)" },
    { 'o', 0, "offset", "OFFSET", SIZE(start), .max = INT64_MAX, .doc = "where the first request goes (0)" },
    { 'S', 0, "step-size", "SIZE", SIZE(step), .max = INT32_MAX,
      .doc = "from one request's start to the next one's (the buffer's size)" },
    { 'w', 0, "write", NULL, FLAG(write), .doc = "write instead of reading: destroys what FILE holds" },
    { 0, 0, "pattern", "BYTE", AT(IMG_NUM, pattern), .max = 255, .doc = "the byte that is written (0)" },
    { 0, 0, "flush-interval", "N", AT(IMG_NUM, flush_interval), .max = INT32_MAX,
      .doc = "flush after every N writes" },
    { 0, 0, "no-drain", NULL, FLAG(no_drain), .doc = "do not wait for running requests before a flush" },
    { 'i', 0, "aio", "threads|io_uring|native", NAME(aio, aio_names), .doc = "how the host is asked" },
    { 'n', 0, "native", NULL, FLAG(native), .doc = "the same as -i native, which is io_uring here" },
    FORMAT, IMAGE_OPTS,
    CACHE('t', "cache", cache, "cache mode: none, writeback (default), writethrough, directsync, unsafe"),
    INSIST, SHARE, QUIET, OBJECT, END
};

static const ImgOption bitmap_options[] = {
    { 0, 0, "add", NULL, .kind = IMG_ACTION, .doc = "make BITMAP, recording from now on" },
    { 0, 0, "remove", NULL, .kind = IMG_ACTION, .doc = "remove it" },
    { 0, 0, "clear", NULL, .kind = IMG_ACTION, .doc = "forget what it recorded" },
    { 0, 0, "enable", NULL, .kind = IMG_ACTION, .doc = "let it record" },
    { 0, 0, "disable", NULL, .kind = IMG_ACTION, .doc = "stop it from recording" },
    { 0, 0, "merge", "SOURCE", .kind = IMG_ACTION, .doc = "add what the bitmap SOURCE recorded" },
    { 'g', 0, "granularity", "SIZE", SIZE(granularity), .min = 512, .max = UINT32_MAX,
      .doc = "bytes for each bit of --add: a power of two (64K)" },
    { 'b', 0, "source-file", "FILE", TEXT(source_file), .doc = "the image that holds SOURCE" },
    { 'F', 0, "source-format", "FMT", TEXT(format2), .doc = "its format" },
    FORMAT, IMAGE_OPTS, OBJECT, END
};

static const ImgOption check_options[] = {
    { 'r', 0, "repair", "leaks|all", NAME(repair, repair_names), .doc = "mend leaked clusters, or all that is found" },
    FORMAT, IMAGE_OPTS,
    CACHE('T', "cache", source_cache, "cache mode for reading (writeback)"),
    SHARE, OUTPUT, QUIET, OBJECT, END
};

static const ImgOption commit_options[] = {
    { 'b', 0, "base", "FILE", TEXT(backing), .doc = "into this image of the chain, not the next one; implies -d" },
    { 'd', 0, "drop", NULL, FLAG(drop), .doc = "do not empty FILE afterwards: it is not needed any more" },
    { 'r', 0, "rate-limit", "BYTES", SIZE(rate), .max = INT64_MAX, .doc = "bytes a second, at most" },
    FORMAT, IMAGE_OPTS,
    CACHE('t', "cache", cache, "cache mode: none, writeback (default), writethrough, directsync, unsafe"),
    FORCE("do it even if other images depend on the base"),
    PROGRESS, QUIET, OBJECT, END
};

static const ImgOption compare_options[] = {
    { 'f', 0, "a-format", "FMT", TEXT(format), .doc = "format of FILE1; it is recognised without" },
    { 'F', 0, "b-format", "FMT", TEXT(format2), .doc = "format of FILE2" },
    IMAGE_OPTS,
    { 's', 0, "strict", NULL, FLAG(strict), .doc = "sizes and what is allocated have to agree, too" },
    CACHE('T', "cache", source_cache, "cache mode for reading (writeback)"),
    SHARE, PROGRESS, QUIET, OBJECT, END
};

static const ImgOption convert_options[] = {
    { 'f', 0, "source-format", "FMT", TEXT(format), .doc = "format of the sources; it is recognised without" },
    { 0, 0, "image-opts", NULL, FLAG(image_opts), .doc = "sources are lists of options (driver=qcow2,..), no names" },
    CACHE('T', "source-cache", source_cache, "cache mode for reading (writeback)"),
    { 'l', 0, "snapshot", "SNAPSHOT", TEXT(snapshot),
      .doc = "copy this internal snapshot: ID, name, or snapshot.id=ID,snapshot.name=NAME" },
    { 0, 0, "bitmaps", NULL, FLAG(bitmaps), .doc = "copy persistent bitmaps, too" },
    { 0, 0, "skip-broken-bitmaps", NULL, FLAG(skip_broken), .doc = "leave out those that were not stored properly" },
    { 0, 0, "salvage", NULL, FLAG(salvage), .doc = "what cannot be read becomes zeroes" },
    { 'O', 0, "target-format", "FMT", TEXT(target_format), .doc = "format of TARGET (raw)" },
    { 0, 0, "target-image-opts", NULL, FLAG(target_image_opts), .doc = "TARGET is a list of options; needs -n" },
    { 'o', 0, "target-format-options", "NAME=VALUE[,..]", AT(IMG_JOIN, options),
      .doc = "options of its creation; 'help' lists them" },
    CACHE('t', "target-cache", cache, "cache mode for writing (unsafe)"),
    { 'b', 'B', "backing", "FILE", TEXT(backing), .doc = "TARGET gets this backing file; what is equal is left out" },
    { 'F', 0, "backing-format", "FMT", TEXT(backing_format), .doc = "its format" },
    { 'S', 0, "sparse-size", "SIZE", SIZE(sparse), HAS(has_sparse), .max = 16u << 20,
      .doc = "zeroes of at least this length are left out (4K; 0: all is written)" },
    { 'n', 0, "no-create", NULL, FLAG(no_create), .doc = "TARGET is there already" },
    { 0, 0, "target-is-zero", NULL, FLAG(target_is_zero), .doc = "and it reads as zeroes" },
    { 'c', 0, "compress", NULL, FLAG(compress), .doc = "compress the data" },
    { 0, 0, "resume", NULL, FLAG(resume),
      .doc = "go on with a copy that was stopped: what TARGET has is compared, the rest copied" },
    { 'r', 0, "rate-limit", "BYTES", SIZE(rate), .max = INT64_MAX, .doc = "bytes a second, at most" },
    { 'm', 0, "parallel", "N", AT(IMG_NUM, workers), HAS(has_workers), .min = 1, .max = 16,
      .doc = "requests at the same time (8)" },
    { 'W', 0, "oob-writes", NULL, FLAG(out_of_order), .doc = "write in any order: faster, for devices" },
    { 'C', 0, "copy-range-offloading", NULL, FLAG(offload), .doc = "let the host copy, where it can" },
    SHARE, INSIST, PROGRESS, QUIET, OBJECT, END
};

static const ImgOption create_options[] = {
    { 'f', 0, "format", "FMT", TEXT(format), .doc = "format of the new image (raw)" },
    { 'o', 0, "options", "NAME=VALUE[,..]", AT(IMG_JOIN, options), .doc = "options of the format; 'help' lists them" },
    { 'b', 0, "backing", "FILE", TEXT(backing), .doc = "the image that it is an overlay of" },
    { 'B', 'F', "backing-format", "FMT", TEXT(backing_format), .doc = "its format" },
    { 'u', 0, "backing-unsafe", NULL, FLAG(unsafe), .doc = "do not look at the backing file: it need not be there" },
    INSIST, QUIET, OBJECT, END
};

static const ImgOption dd_options[] = {
    FORMAT, IMAGE_OPTS,
    { 'O', 0, "output-format", "FMT", TEXT(target_format), .doc = "format of the output (raw)" },
    SHARE, INSIST, PROGRESS, QUIET, OBJECT, END
};

static const ImgOption info_options[] = {
    FORMAT, IMAGE_OPTS,
    { 0, 0, "backing-chain", NULL, FLAG(chain), .doc = "the backing files, too" },
    { 0, 0, "limits", NULL, FLAG(limits), .doc = "the limits of requests, too" },
    SHARE, OUTPUT, OBJECT, END
};

static const ImgOption map_options[] = {
    { 's', 0, "start-offset", "OFFSET", SIZE(start), .max = INT64_MAX, .doc = "from there on (0)" },
    { 'l', 0, "max-length", "LENGTH", SIZE(length), HAS(has_length), .max = INT64_MAX, .doc = "that many bytes (all)" },
    FORMAT, IMAGE_OPTS, SHARE, OUTPUT, OBJECT, END
};

static const ImgOption measure_options[] = {
    { 's', 0, "size", "SIZE", SIZE(size), HAS(has_size), .max = BLOCK_MAX_SIZE,
      .doc = "for an empty disk of that size, instead of FILE" },
    { 'O', 0, "target-format", "FMT", TEXT(target_format), .doc = "the format it would be converted to (raw)" },
    { 'o', 0, "target-format-options", "NAME=VALUE[,..]", AT(IMG_JOIN, options),
      .doc = "options of its creation; 'help' lists them" },
    FORMAT, IMAGE_OPTS,
    { 'l', 0, "snapshot", "SNAPSHOT", TEXT(snapshot), .doc = "of this internal snapshot" },
    SHARE, OUTPUT, OBJECT, END
};

static const ImgOption rebase_options[] = {
    { 'b', 0, "backing", "FILE", TEXT(backing), .doc = "the new backing file; '' for none: FILE gets all data" },
    { 'B', 'F', "backing-format", "FMT", TEXT(backing_format), .doc = "its format" },
    { 'u', 0, "backing-unsafe", NULL, FLAG(unsafe), .doc = "change the name alone: what it is now reads the same" },
    { 'c', 0, "compress", NULL, FLAG(compress), .doc = "compress what is copied" },
    FORMAT, IMAGE_OPTS,
    CACHE('t', "cache", cache, "cache mode: none, writeback (default), writethrough, directsync, unsafe"),
    CACHE('T', "backing-cache", source_cache, "cache mode for backing files (writeback)"),
    SHARE, PROGRESS, QUIET, OBJECT, END
};

static const ImgOption resize_options[] = {
    { 0, 0, "shrink", NULL, FLAG(shrink), .doc = "make it smaller: what lies behind the new end is lost" },
    { 0, 0, "preallocation", "MODE", NAME(preallocation, prealloc_mode_names),
      .doc = "of what is added: off (default), metadata, falloc, full" },
    FORMAT, IMAGE_OPTS,
    FORCE("shrink it even if other images depend on it"),
    QUIET, OBJECT, END
};

static const ImgOption snapshot_options[] = {
    { 'l', 0, "list", NULL, FLAG(list), .doc = "list the internal snapshots (default)" },
    { 'c', 0, "create", "NAME", TEXT(create), .doc = "make one" },
    { 'a', 0, "apply", "ID|NAME", TEXT(apply), .doc = "go back to one: the disk becomes what it was" },
    { 'd', 0, "delete", "ID|NAME", TEXT(delete), .doc = "remove one" },
    FORMAT, IMAGE_OPTS,
    FORCE("go back even if other images depend on FILE"),
    SHARE, QUIET, OBJECT, END
};

const ImgCommand img_commands[] = {
    { "amend", "FILE", "change options of an image's format", amend_options, img_amend, 0, 1, 1 },
    { "bench", "FILE", "measure how fast requests are", bench_options, img_bench, 1, 1, 1 },
    { "bitmap", "FILE BITMAP", "make and change persistent dirty bitmaps", bitmap_options, img_bitmap, 2, 2, 1 },
    { "check", "FILE", "look for damage, and mend it", check_options, img_check, 1, 1, 1 },
    { "commit", "FILE", "write an overlay's changes into its backing file", commit_options, img_commit, 1, 1, 1 },
    { "compare", "FILE1 FILE2", "do two images hold the same?", compare_options, img_compare, 2, 2, 2 },
    { "convert", "SOURCE... TARGET", "copy an image, into another format", convert_options, img_convert, 0, ~0u, 1 },
    { "create", "FILE [SIZE]", "make an image", create_options, img_create, 0, 2, 1 },
    { "dd", "if=FILE of=FILE [bs=SIZE] [count=N] [skip=N]", "copy a part of an image", dd_options, img_dd, 0, ~0u, 1 },
    { "info", "FILE", "what an image is", info_options, img_info, 1, 1, 1 },
    { "map", "FILE", "where an image's data is", map_options, img_map, 1, 1, 1 },
    { "measure", "[FILE]", "how large would it be in another format?", measure_options, img_measure, 0, 1, 1 },
    { "rebase", "FILE", "give an overlay another backing file", rebase_options, img_rebase, 1, 1, 1 },
    { "resize", "FILE [+|-]SIZE", "make an image larger or smaller", resize_options, img_resize, 2, 2, 1 },
    { "snapshot", "FILE", "internal snapshots: list, make, go back, remove", snapshot_options, img_snapshot, 1, 1, 1 },
    { 0 }
};

const ImgCommand *img_command_find(const char *name)
{
    for (const ImgCommand *c = img_commands; c->name; c++) {
        if (!strcmp(c->name, name))
            return c;
    }
    return NULL;
}
