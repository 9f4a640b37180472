/* SPDX-License-Identifier: MIT */
/*
 * Sources of randomness: rows of a table, one list in the machine. A file that has
 * nothing to give now is waited for in the main loop; one that has ended gives nothing more.
 */
#include "system/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <jansson.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/opts.h"
#include "util/path.h"
#include "util/reflect.h"

typedef struct Waiter { struct Waiter *next; void (*fn)(void *); void *opaque; } Waiter;

struct Rng {
    Vm *vm;
    char *id, *filename;
    bool opened;                /* QEMU's old property: says nothing */
    int fd;                     /* -1: the kernel's own */
    GSource *source;            /* while somebody waits for the file */
    Waiter *waiters;
    Rng *next;
};

static const Field builtin_fields[] = {
    PROP(Rng, id, .doc = "its name"),
    PROP(Rng, opened, .def = "on", .doc = "accepted, as it always is"),
    {0}
};
static const Field random_fields[] = {
    PROP(Rng, id, .doc = "its name"),
    PROP(Rng, opened, .def = "on", .doc = "accepted, as it always is"),
    PROP(Rng, filename, .def = "/dev/urandom", .doc = "where the bytes come from"),
    {0}
};
static const struct Kind { const char *name; const Field *fields; } kinds[] = {
    { "rng-builtin", builtin_fields }, { "rng-random", random_fields },
};

static const struct Kind *find_kind(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (name && !strcmp(kinds[i].name, name))
            return &kinds[i];
    }
    return NULL;
}

const char *rng_kind(unsigned n, const Field **fields)
{
    if (n >= G_N_ELEMENTS(kinds))
        return NULL;
    *fields = kinds[n].fields;
    return kinds[n].name;
}

bool rng_is_kind(const char *kind)
{
    return find_kind(kind);
}

char *rng_help(const char *kind)
{
    const struct Kind *k = find_kind(kind);

    if (!k)
        return NULL;
    g_autofree char *props = props_help(k->fields);
    return g_strdup_printf("%s options:\n%s", kind, props);
}

/* ---- making them */

typedef struct Making { Rng *r; const struct Kind *kind; } Making;

static Err *set_prop(void *opaque, const char *key, const char *value)
{
    const Making *m = opaque;
    const Field *f;

    if (!strcmp(key, "qom-type"))
        return NULL;
    TRY(prop_find(m->kind->fields, key, &f));
    return prop_parse(m->r, f, value);
}

static Err *set_json(Making *m, const json_t *o)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        const char *text = json_is_string(v) ? json_string_value(v) : json_is_true(v) ? "on" : json_is_false(v) ? "off" : NULL;

        if (!text)
            return err(ERR_INVALID, "property '%s' is neither a string nor a boolean", key);
        TRY(set_prop(m, key, text));
    }
    return NULL;
}

static Err *set_props(Making *m, const char *arg)
{
    json_error_t why;
    Opts *o = NULL;
    Err *e;

    if (*arg != '{') {
        TRY(opts_parse(arg, NULL, "qom-type", &o));
        m->kind = find_kind(opts_str(o, "qom-type", NULL));
        props_init(m->r, m->kind->fields);
        e = opts_each(o, set_prop, m);
        opts_free(o);
        return e;
    }
    json_t *j = json_loads(arg, JSON_REJECT_DUPLICATES, &why);
    if (!j)
        return err(ERR_INVALID, "it is no JSON: %s (column %d)", why.text, why.column);
    m->kind = find_kind(json_string_value(json_object_get(j, "qom-type")));
    props_init(m->r, m->kind->fields);
    e = set_json(m, j);
    json_decref(j);
    return e;
}

static Err *open_file(Rng *r)
{
    struct stat st;

    r->fd = open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (r->fd < 0)
        return err_path(errno, r->filename, "cannot open '%s'", r->filename);
    if (!fstat(r->fd, &st) && S_ISDIR(st.st_mode))
        return err(ERR_INVALID, "'%s' is a folder", r->filename);
    return NULL;
}

static Rng *look_up(const Vm *vm, const char *id)
{
    Rng *r = vm->rngs;

    while (r && strcmp(r->id, id))
        r = r->next;
    return r;
}

static void rng_free(Rng *r)
{
    if (r->source) {
        g_source_destroy(r->source);
        g_source_unref(r->source);
    }
    for (Waiter *w = r->waiters, *next; w; w = next) {
        next = w->next;
        g_free(w);
    }
    if (r->fd >= 0)
        close(r->fd);
    g_free(r->filename);
    g_free(r->id);
    g_free(r);
}

Err *rng_add(Vm *vm, const char *arg)
{
    Rng *r = g_new0(Rng, 1);
    Making m = { .r = r };

    r->vm = vm;
    r->fd = -1;
    Err *e = set_props(&m, arg);
    if (!e && !r->id)
        e = err_hint(err(ERR_INVALID, "it needs an id"), "%s,id=NAME", m.kind->name);
    if (!e && look_up(vm, r->id))
        e = err(ERR_INVALID, "there is a source '%s' already", r->id);
    if (!e && r->filename)
        e = open_file(r);
    if (e) {
        rng_free(r);
        return e;
    }
    r->next = vm->rngs;
    vm->rngs = r;
    return NULL;
}

Err *rng_find(Vm *vm, const char *id, Rng **out)
{
    *out = look_up(vm, id);
    return *out ? NULL : err_hint(err(ERR_NOT_FOUND, "there is no source of randomness '%s'", id),
                                  "Make one: -object rng-random,id=%s,filename=/dev/urandom", id);
}

void rng_del(Vm *vm, const char *id)
{
    for (Rng **p = &vm->rngs, *r; (r = *p) != NULL; p = &r->next) {
        if (!strcmp(r->id, id)) {
            *p = r->next;
            rng_free(r);
            return;
        }
    }
}

void rngs_free(Vm *vm)
{
    for (Rng *r; (r = vm->rngs) != NULL;) {
        vm->rngs = r->next;
        rng_free(r);
    }
}

/* ---- reading */

void rng_fill(void *to, size_t len)
{
    uint8_t *p = to;

    while (len) {
        ssize_t n = getrandom(p, MIN(len, 1 << 20), 0);

        if (n > 0) {
            p += n;
            len -= n;
        }
    }
}

long rng_read(Rng *r, void *to, size_t len)
{
    if (r->fd < 0) {
        rng_fill(to, len);
        return len;
    }
    for (;;) {
        ssize_t n = read(r->fd, to, len);

        if (n > 0)
            return n;
        if (n == 0)
            return -ENODATA;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

static gboolean readable(int fd, GIOCondition condition, gpointer opaque)
{
    Rng *r = opaque;

    vm_lock(r->vm);
    Waiter *list = r->waiters;
    r->waiters = NULL;
    g_source_unref(r->source);
    r->source = NULL;
    for (Waiter *w = list, *next; w; w = next) {
        next = w->next;
        w->fn(w->opaque);
        g_free(w);
    }
    vm_unlock(r->vm);
    return G_SOURCE_REMOVE;
}

void rng_wait(Rng *r, void (*fn)(void *), void *opaque)
{
    Waiter *w = g_new(Waiter, 1);

    *w = (Waiter){ r->waiters, fn, opaque };
    r->waiters = w;
    if (r->source)
        return;
    r->source = g_unix_fd_source_new(r->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(r->source, G_SOURCE_FUNC(readable), r, NULL);
    g_source_attach(r->source, r->vm->main_context);
}

void rng_unwait(Rng *r, void *opaque)
{
    for (Waiter **p = &r->waiters, *w; (w = *p) != NULL;) {
        if (w->opaque == opaque) {
            *p = w->next;
            g_free(w);
        } else {
            p = &w->next;
        }
    }
}
