/* SPDX-License-Identifier: MIT */
/*
 * The job "create": makes an image (block/create.c) while others go on.
 */
#include "block/job-priv.h"

typedef struct Create {
    Job job;
    CreateRequest r;            /* its strings are the job's */
} Create;

static int create_run(Job *j)
{
    Create *c = (Create *)j;
    Err *e = image_create(j->graph, &c->r, NULL);

    j->done = j->total = 1;
    if (!e)
        return 0;
    job_fail(j, e);
    return -EIO;
}

static void create_clean(Job *j)
{
    Create *c = (Create *)j;

    g_free((char *)c->r.filename);
    g_free((char *)c->r.format);
    g_free((char *)c->r.options);
    g_free((char *)c->r.file_node);
    g_free((char *)c->r.backing);
    g_free((char *)c->r.backing_format);
}

static const JobDriver create_driver = {
    .name = "create", .size = sizeof(Create), .run = create_run, .clean = create_clean,
};

Err *job_create(BlockGraph *g, const CreateRequest *r, const JobConfig *c, Job **out)
{
    Create *t;
    Job *j;

    *out = NULL;
    TRY(job_new(g, &create_driver, c, &j));
    t = (Create *)j;
    t->r = (CreateRequest){
        .filename = g_strdup(r->filename), .format = g_strdup(r->format), .options = g_strdup(r->options),
        .backing = g_strdup(r->backing), .backing_format = g_strdup(r->backing_format), .size = r->size,
        .unsafe = r->unsafe, .file_node = g_strdup(r->file_node),
    };
    j->total = 1;
    job_begin(j, c, out);
    return NULL;
}
