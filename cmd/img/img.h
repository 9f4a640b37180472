/* SPDX-License-Identifier: MIT */
/*
 * lyre-img inside: what its subcommands share. Each takes an Img, which holds
 * the command line as the option table read it (table.c), and runs whole in a
 * coroutine of the Img's loop. Private to cmd/img/.
 */
#ifndef CMD_IMG_IMG_H
#define CMD_IMG_IMG_H

#include <glib.h>

#include "block/block.h"

/* ---- the command line */

typedef struct Img Img;

/* What the options of all subcommands say; each uses its share. Strings are owned. */
typedef struct ImgArgs {
    bool quiet, progress, share, image_opts, target_image_opts, force, help;
    bool compress, resume, no_create, target_is_zero, bitmaps, skip_broken, salvage, offload, out_of_order;
    bool unsafe, strict, drop, shrink, chain, limits, list;
    bool write, native, no_drain;
    char *format, *format2, *target_format;     /* of the image, of compare's and merge's second, of the output */
    char *cache, *source_cache;
    char *options;                              /* all -o, joined by commas */
    char *backing, *backing_format, *source_file;
    char *output, *repair, *preallocation, *aio;
    char *snapshot, *apply, *create, *delete;
    GPtrArray *objects, *actions;               /* actions: "add", "merge=NAME", in the order given */
    uint64_t size, rate, sparse, workers, start, length, granularity;
    uint64_t count, depth, flush_interval, pattern, step, buffer;
    bool has_size, has_sparse, has_length, has_workers;
    char **files;                               /* the operands, borrowed from argv */
    unsigned nfiles;
} ImgArgs;

typedef enum ImgArgKind {
    IMG_FLAG,           /* a bool at `offset` becomes true */
    IMG_TEXT,           /* a char * at `offset`; the last one counts */
    IMG_NAME,           /* the same, one of `names` */
    IMG_JOIN,           /* the same, all of them joined by commas */
    IMG_LIST,           /* a GPtrArray * at `offset`; each is added */
    IMG_SIZE,           /* a uint64_t at `offset`: bytes, K M G.. understood; `has` becomes true */
    IMG_NUM,            /* the same without units */
    IMG_ACTION,         /* adds NAME or NAME=ARGUMENT to ImgArgs.actions */
} ImgArgKind;

/* A row for each option: parsing, --help and the manual page go by it. */
typedef struct ImgOption {
    char letter, other;         /* other: the spelling of QEMU before or after 10.1; 0: none */
    const char *name, *arg;     /* arg: what the argument is, for people; NULL: none */
    ImgArgKind kind;
    uint16_t offset, has;       /* in ImgArgs; has 0: nothing to set */
    const char *const *names;
    uint64_t min, max;          /* max 0: none */
    const char *doc;
} ImgOption;

typedef struct ImgCommand {
    const char *name, *operands, *doc;
    const ImgOption *options;           /* ended by a row without a doc */
    Err *(*run)(Img *);
    unsigned min_files, max_files;
    int failed;                         /* exit status of an error in front of run(), and the default for those in it */
} ImgCommand;

extern const ImgCommand img_commands[];         /* ended by one without a name */
extern const char *const img_cache_names[];

const ImgCommand *img_command_find(const char *name);
/* Reads the words behind the command's name into im->a. */
MUST_USE Err *img_parse(Img *im, int argc, char **argv);
void img_args_clear(ImgArgs *a);
char *img_help(const char *program, const ImgCommand *c);       /* c NULL: of the whole; g_free it */

/* ---- a run */

struct Img {
    const char *program;
    const ImgCommand *cmd;
    ImgArgs a;
    Loop *loop;
    BlockGraph *graph;
    int status;                 /* of the process, when it is not what the command's row says */
    struct Progress *progress;  /* between progress_begin and progress_end */
};

/* Has a signal asked us to come to an end? Long work asks between requests. */
bool img_stopping(void);
const bool *img_stop_flag(void);    /* the same, for block/copy.h */
/* "stopped by SIGINT": the error of work that img_stopping ended, with what to do next. */
MUST_USE Err *img_stopped(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Ends the process by that signal, if there was one. */
void img_end_of_signal(void);

/* To stdout, unless -q. */
void img_say(Img *im, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- images (open.c) */

/* The options of `name` as the command line means it: --image-opts, the format, the cache mode (may be NULL). */
MUST_USE Err *img_options(const char *name, const char *format, bool image_opts, const char *cache,
                          json_t **options, bool *writethrough);
/* Opens an operand by im's -f, --image-opts and -U. flags: OpenFlags. */
MUST_USE Err *img_open(Img *im, const char *name, const char *cache, unsigned flags, Disk **out);
MUST_USE Err *img_open_as(Img *im, const char *name, const char *format, bool image_opts, const char *cache,
                          unsigned flags, Disk **out);
/* For info, map and check: one that is in use is read all the same, and a note says that it is live. */
MUST_USE Err *img_open_live(Img *im, const char *name, const char *cache, unsigned flags, Disk **out);
MUST_USE Err *img_add_objects(Img *im);
/* A new persistent bitmap, if the format can store it. */
MUST_USE Err *img_add_bitmap(BlockNode *n, const char *name, uint32_t granularity, DirtyBitmap **out);
/* From now on the disk reads as that internal snapshot: "ID or name" or "snapshot.id=ID,snapshot.name=NAME". */
MUST_USE Err *img_load_snapshot(Disk *d, const char *text);
MUST_USE Err *img_driver(const char *format, const BlockDriver **out);
/* What the list of -o says of `name` ("encrypt.key-secret"), or NULL; g_free it. */
char *img_creation_option(const char *options, const char *name);
/* Size in whole sectors, which is what formats and guests see. */
uint64_t img_size(Disk *d);
/* Where `backing` as the header of `image` has it is, seen from here; g_free it. */
char *img_backing_path(const char *image, const char *backing);

/* ---- text (print.c) */

/* "196 KiB", as QEMU's tools print sizes; g_free it. */
char *img_size_text(uint64_t bytes);
/* JSON in QEMU's layout and order of keys. */
char *img_json(const json_t *v);
void img_print_json(const json_t *v);
/* "Format specific information": "key name: value" lines, indented by 4 * depth. */
void img_print_tree(const json_t *v, unsigned depth);
/* The table of snapshots, without its heading. */
void img_print_snapshots(const Snapshot *list, unsigned count);
bool img_json_output(const Img *im);

/* ---- progress (progress.c) */

typedef struct Progress Progress;

/* Nothing is shown with -q; QEMU's percents with -p; a line that is alive on a terminal. `what`: "converted". */
void progress_begin(Img *im, const char *what, double step);
void progress_total(Img *im, uint64_t total);
void progress_at(Img *im, uint64_t done);
void progress_saved(Img *im, uint64_t bytes, const char *how);     /* "not stored", "saved by compression" */
void progress_end(Img *im, bool ok);

/* ---- protection of what others depend on (guard.c) */

/*
 * Says no if the file is needed: by the images that are open here, by an
 * overlay in its folder, or as an external data file there. `what`: what would
 * be done, "overwriting". Nothing is looked at with --force, or where there is
 * no such file.
 */
MUST_USE Err *guard(Img *im, const char *path, const char *what);
/* The same for an image that is open here: who in its folder needs it. */
MUST_USE Err *guard_node(Img *im, BlockNode *n, const char *what);

/* ---- the commands */

Err *img_amend(Img *im);
Err *img_bench(Img *im);
Err *img_bitmap(Img *im);
Err *img_check(Img *im);
Err *img_commit(Img *im);
Err *img_compare(Img *im);
Err *img_convert(Img *im);
Err *img_create(Img *im);
Err *img_dd(Img *im);
Err *img_info(Img *im);
Err *img_map(Img *im);
Err *img_measure(Img *im);
Err *img_rebase(Img *im);
Err *img_resize(Img *im);
Err *img_snapshot(Img *im);

/* Is there a "help" or "?" among the options of -o? */
bool img_asks_help(const char *options);
/* -o help: prints the options there are. */
MUST_USE Err *img_options_help(const char *format, const char *file);

#endif
