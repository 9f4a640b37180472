/* SPDX-License-Identifier: MIT */
/*
 * The core of chardev/: binding ports, passing bytes and news on, the set of
 * backends of a machine, and the argument of -chardev.
 */
#include "chardev/chardev-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib-unix.h>

#include "util/fdset.h"
#include "util/path.h"

struct Chardevs {
    ChardevHost host;
    GPtrArray *all;             /* Chardev, in the order made; a mux comes after what is below it */
};

static const ChardevClass *const classes[] = {
    &chardev_stdio, &chardev_null, &chardev_file, &chardev_pipe, &chardev_pty, &chardev_socket,
    &chardev_udp, &chardev_ringbuf, &chardev_memory, &chardev_serial, &chardev_tty, NULL
};

/* ---- what a chardev waits for -------------------------------------------- */

struct ChrWatch {
    Chardev *chr;
    GSource *src;
    ChrFdFn *on_fd;             /* NULL: a time, or soon */
    void (*on_idle)(Chardev *);
    int fd;
    GIOCondition cond;
    unsigned ms;
    ChrWatch *next, **at;       /* chr's list */
};

/* What a GSource knows: the host as it was when that was made, whatever the chardev has been moved to since. */
typedef struct Firing {
    ChrWatch *watch;
    ChardevHost host;
} Firing;

static bool watch_enter(const ChardevHost *h)
{
    if (h->lock)
        h->lock(h->opaque);
    /* Another thread may have removed the source while this one waited for the lock. */
    return !g_source_is_destroyed(g_main_current_source());
}

static void watch_leave(const ChardevHost *h)
{
    if (h->unlock)
        h->unlock(h->opaque);
}

static gboolean watch_fd_fired(gint fd, GIOCondition cond, gpointer opaque)
{
    Firing *f = opaque;

    if (watch_enter(&f->host))
        f->watch->on_fd(f->watch->chr, cond);
    watch_leave(&f->host);
    return G_SOURCE_CONTINUE;       /* who does not want it any more has destroyed it */
}

static gboolean watch_idle_fired(gpointer opaque)
{
    Firing *f = opaque;

    if (watch_enter(&f->host))
        f->watch->on_idle(f->watch->chr);
    watch_leave(&f->host);
    return G_SOURCE_REMOVE;
}

static void watch_attach(ChrWatch *w)
{
    const ChardevHost *h = chr_host(w->chr);
    Firing *f = g_new(Firing, 1);

    *f = (Firing){ w, *h };
    if (w->on_fd)
        w->src = g_unix_fd_source_new(w->fd, w->cond);
    else
        w->src = w->ms ? g_timeout_source_new(w->ms) : g_idle_source_new();
    g_source_set_callback(w->src, w->on_fd ? (GSourceFunc)(void (*)(void))watch_fd_fired : watch_idle_fired, f, g_free);
    g_source_attach(w->src, h->context);
}

static void watch_detach(ChrWatch *w)
{
    g_source_destroy(w->src);
    g_source_unref(w->src);
}

static ChrWatch *watch_new(Chardev *c, ChrWatch what)
{
    ChrWatch *w = g_new(ChrWatch, 1);

    *w = what;
    w->chr = c;
    w->next = c->watches;
    w->at = &c->watches;
    if (w->next)
        w->next->at = &w->next;
    c->watches = w;
    watch_attach(w);
    return w;
}

ChrWatch *chr_watch_fd(Chardev *c, int fd, GIOCondition cond, ChrFdFn *fn)
{
    return watch_new(c, (ChrWatch){ .on_fd = fn, .fd = fd, .cond = cond });
}

ChrWatch *chr_idle(Chardev *c, void (*fn)(Chardev *))
{
    return watch_new(c, (ChrWatch){ .on_idle = fn });
}

ChrWatch *chr_after(Chardev *c, unsigned ms, void (*fn)(Chardev *))
{
    return watch_new(c, (ChrWatch){ .on_idle = fn, .ms = MAX(ms, 1) });
}

void chr_unwatch(ChrWatch **watch)
{
    ChrWatch *w = *watch;

    if (!w)
        return;
    *watch = NULL;
    watch_detach(w);
    *w->at = w->next;
    if (w->next)
        w->next->at = w->at;
    g_free(w);
}

/* ---- in whose loop, under whose lock */

bool chr_can_move(const CharPort *port)
{
    return port->chr && port->chr->cls != &chardev_mux;
}

void chr_move(CharPort *port, const ChrPlace *to)
{
    Chardev *c = port->chr;

    for (ChrWatch *w = c->watches; w; w = w->next)
        watch_detach(w);
    c->host = c->set->host;
    c->moved = to != NULL;
    if (to) {
        c->host.context = to->context;
        c->host.lock = to->lock;
        c->host.unlock = to->unlock;
        c->host.opaque = to->opaque;
        c->host.quit = NULL;        /* is the mux's, which does not move */
    }
    for (ChrWatch *w = c->watches; w; w = w->next)
        watch_attach(w);
}

/* ---- the backend's view of its port --------------------------------------- */

const ChardevHost *chr_host(const Chardev *c)
{
    return &c->host;
}

int chr_open_file(const Chardev *c, const char *path, int flags)
{
    return fdsets_open(chr_host(c)->fdsets, path, flags | O_CLOEXEC | O_NOCTTY, 0666);
}

int chr_be_room(Chardev *c)
{
    CharPort *p = c->port;

    return p ? p->events->room(p->dev) : 0;
}

void chr_be_data(Chardev *c, const uint8_t *buf, int n)
{
    CharPort *p = c->port;

    if (p && n > 0)
        p->events->data(p->dev, buf, n);
}

void chr_be_event(Chardev *c, CharEvent what)
{
    CharPort *p = c->port;

    if (what == CHR_OPENED || what == CHR_CLOSED)
        c->open = what == CHR_OPENED;
    if (c->cls == &chardev_mux)
        mux_event(c, what);
    else if (p && p->events->event)
        p->events->event(p->dev, what);
}

/* ---- the device's view ------------------------------------------------------ */

static void announce(Chardev *c)
{
    chr_unwatch(&c->announcer);
    if (c->open)
        chr_be_event(c, CHR_OPENED);
}

Err *chr_bind(CharPort *port, const CharEvents *events, void *dev)
{
    Chardev *c = port->chr;

    port->events = events;
    port->dev = dev;
    if (!c)
        return NULL;
    if (c->cls == &chardev_mux) {
        TRY(mux_bind(c, port));
    } else {
        if (c->port)
            return err_hint(err(ERR_BUSY, "chardev '%s' is used by another device", c->id),
                            "A chardev that several devices share needs mux=on.");
        c->port = port;
    }
    c->used = true;
    if (c->open && !c->announcer)
        c->announcer = chr_idle(c, announce);
    if (c->cls->input)
        c->cls->input(c);
    return NULL;
}

void chr_unbind(CharPort *port)
{
    Chardev *c = port->chr;

    port->events = NULL;
    if (!c)
        return;
    if (c->cls == &chardev_mux)
        mux_unbind(c, port);
    else if (c->port == port)
        c->port = NULL;
}

/* The log file is a convenience: when its disk is full the machine goes on. */
static void write_log(Chardev *c, const uint8_t *buf, int n)
{
    while (n > 0) {
        ssize_t r = write(c->log_fd, buf, n);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            chr_note("chardev '%s': its log file ends here: %s", c->id, g_strerror(errno));
            close(c->log_fd);
            c->log_fd = -1;
            return;
        }
        buf += r;
        n -= r;
    }
}

int chr_write(CharPort *port, const void *buf, int n)
{
    Chardev *c = port->chr;

    if (!c)
        return n;
    int taken = c->cls->write(c, buf, n);
    if (c->log_fd >= 0)
        write_log(c, buf, taken);
    return taken;
}

void chr_accept_input(CharPort *port)
{
    Chardev *c = port->chr;

    if (c && c->cls->input)
        c->cls->input(c);
}

bool chr_is_open(const CharPort *port)
{
    return port->chr && port->chr->open;
}

int chr_take_fd(CharPort *port)
{
    Chardev *c = port->chr;

    return c && c->cls->take_fd ? c->cls->take_fd(c) : -1;
}

bool chr_size(const CharPort *port, int *cols, int *rows)
{
    const Chardev *c = port->chr;

    return c && c->cls->winsize && c->cls->winsize(c, cols, rows);
}

/* ---- the set ---------------------------------------------------------------- */

void chr_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", g_get_prgname() ? g_get_prgname() : "lyre", text);
    g_free(text);
}

static void chardev_free(Chardev *c)
{
    chr_unwatch(&c->announcer);
    if (c->cls->close)
        c->cls->close(c);
    if (c->log_fd >= 0)
        close(c->log_fd);
    g_free(c->id);
    g_free(c);
}

Chardevs *chardevs_new(const ChardevHost *host)
{
    Chardevs *set = g_new0(Chardevs, 1);

    set->host = *host;
    set->all = g_ptr_array_new();
    return set;
}

void chardevs_free(Chardevs *set)
{
    if (!set)
        return;
    while (set->all->len)       /* the mux before what is below it */
        chardev_free(g_ptr_array_remove_index(set->all, set->all->len - 1));
    g_ptr_array_free(set->all, TRUE);
    g_free(set);
}

static Chardev *lookup(Chardevs *set, const char *id)
{
    for (guint i = 0; i < set->all->len; i++) {
        Chardev *c = set->all->pdata[i];

        if (!strcmp(c->id, id))
            return c;
    }
    return NULL;
}

Err *chardev_find(Chardevs *set, const char *id, Chardev **out)
{
    *out = lookup(set, id);
    if (*out)
        return NULL;
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < set->all->len; i++)
        g_ptr_array_add(names, ((Chardev *)set->all->pdata[i])->id);
    g_ptr_array_add(names, NULL);
    Err *e = err(ERR_NOT_FOUND, "there is no chardev with the id '%s'", id);
    const char *near = nearest_name(id, (const char *const *)names->pdata);
    if (near)
        e = err_hint(e, "Did you mean '%s'?", near);
    else
        e = err_hint(e, "-chardev BACKEND,id=%s makes one.", id);
    g_ptr_array_free(names, TRUE);
    return e;
}

Chardev *chardev_next(Chardevs *set, Chardev *after)
{
    guint i = 0;

    if (after && !g_ptr_array_find(set->all, after, &i))
        return NULL;
    i += after != NULL;
    return i < set->all->len ? set->all->pdata[i] : NULL;
}

bool chardev_bound(const Chardev *c)
{
    return c->cls == &chardev_mux ? mux_bound(c) : c->port != NULL;
}

bool chardev_in_use(const Chardev *c)
{
    return chardev_bound(c) && (c->cls == &chardev_mux || !c->port->unused);
}

bool chardev_for_monitor(const Chardev *c)
{
    return c->cls == &chardev_mux && mux_for_monitor(c);
}

void chardev_break(Chardev *c)
{
    if (c->moved)
        c->host.lock(c->host.opaque);
    chr_be_event(c, CHR_BREAK);
    if (c->moved)
        c->host.unlock(c->host.opaque);
}

Err *chardev_remove(Chardevs *set, const char *id)
{
    Chardev *c = lookup(set, id);

    if (!c)
        return err(ERR_NOT_FOUND, "Chardev '%s' not found", id);
    if (chardev_bound(c))
        return err(ERR_BUSY, "Chardev '%s' is busy", id);
    g_ptr_array_remove(set->all, c);
    Chardev *below = c->cls == &chardev_mux ? mux_below(c) : NULL;
    chardev_free(c);
    if (below) {
        g_ptr_array_remove(set->all, below);
        chardev_free(below);
    }
    return NULL;
}

static Err *may_change(const Chardev *c)
{
    const CharPort *p = c->port;

    if (c->cls == &chardev_mux || (p && p->events == NULL))
        return err(ERR_UNSUPPORTED, "Mux device hotswap not supported yet");
    for (guint i = 0; i < c->set->all->len; i++) {
        const Chardev *other = c->set->all->pdata[i];

        if (other->cls == &chardev_mux && mux_below(other) == c)
            return err(ERR_UNSUPPORTED, "Mux device hotswap not supported yet");
    }
    if (p && p->events->stays)
        return err(ERR_UNSUPPORTED, "Chardev user does not support chardev hotswap");
    return NULL;
}

/* The port hears of the end at the old one; the news of the new one's peer come from the main loop. */
static Err *take_over(Chardev *old, Chardev *new)
{
    CharPort *port = old->port;

    if (!port)
        return NULL;
    if (old->open)
        chr_be_event(old, CHR_CLOSED);
    const CharEvents *events = port->events;
    void *dev = port->dev;
    chr_unbind(port);
    port->chr = new;
    TRY(chr_bind(port, events, dev));
    if (events->event)
        events->event(dev, CHR_WRITABLE);       /* whatever the old one owed */
    return NULL;
}

Err *chardev_change(Chardevs *set, const char *id, const char *arg, Chardev **out)
{
    Chardev *old = lookup(set, id), *new = NULL;
    guint at, from;

    if (!old)
        return err(ERR_NOT_FOUND, "Chardev '%s' does not exist", id);
    TRY(may_change(old));
    g_autofree char *text = g_strdup_printf("%s,id=%s", arg, id), *name = old->id;
    old->id = g_strconcat("before ", id, NULL);         /* no id that a user can give */
    Err *e = chardev_add_opts(set, text, &new);
    if (!e && new->cls == &chardev_mux) {
        e = err(ERR_UNSUPPORTED, "Mux device hotswap not supported yet");
        err_free(chardev_remove(set, id));
    }
    if (!e)
        e = take_over(old, new);
    if (e) {
        g_free(old->id);
        old->id = g_steal_pointer(&name);
        return e;
    }
    g_ptr_array_find(set->all, old, &at);
    g_ptr_array_find(set->all, new, &from);
    set->all->pdata[at] = new;
    g_ptr_array_remove_index(set->all, from);
    chardev_free(old);
    *out = new;
    return NULL;
}

bool chardev_used(const Chardev *chr)
{
    return chr->used;
}

const char *chardev_kind(const Chardev *chr)
{
    return chr->cls->name;
}

const char *chardev_kind_name(unsigned i)
{
    return i < G_N_ELEMENTS(classes) && classes[i] ? classes[i]->name : NULL;
}

const char *chardev_id(const Chardev *chr)
{
    return chr->id;
}

char *chardev_filename(const Chardev *chr)
{
    return chr->cls->filename ? chr->cls->filename(chr) : g_strdup(chr->cls->name);
}

Err *chardev_make(Chardevs *set, const ChardevClass *cls, const char *id, const Opts *o,
                  Chardev **out)
{
    Chardev *c = g_malloc0(cls->size);

    c->cls = cls;
    c->set = set;
    c->host = set->host;
    c->id = g_strdup(id);
    c->log_fd = -1;
    *out = NULL;
    Err *e = cls->open(c, o);
    if (e) {
        chardev_free(c);
        return e;
    }
    g_ptr_array_add(set->all, c);
    *out = c;
    return NULL;
}

/* ---- -chardev ----------------------------------------------------------------- */

static const OptDesc common_opts[] = {
    { "backend",   OPT_STR,  "what is at the other end" },
    { "id",        OPT_STR,  "its name" },
    { "mux",       OPT_BOOL, "several devices may share it; Ctrl-A is a prefix for commands" },
    { "logfile",   OPT_STR,  "file that gets a copy of all output" },
    { "logappend", OPT_BOOL, "add to the log file instead of starting it anew" },
};

/* The common options and the class's, as one table; g_free it. */
static OptDesc *all_opts(const ChardevClass *cls)
{
    GArray *a = g_array_new(TRUE, TRUE, sizeof(OptDesc));

    g_array_append_vals(a, common_opts, G_N_ELEMENTS(common_opts));
    for (const OptDesc *d = cls->opts; d && d->name; d++)
        g_array_append_vals(a, d, 1);
    return (OptDesc *)g_array_free(a, FALSE);
}

/* QEMU's backends that are not here, and what to use instead. */
static const char *const elsewhere[][2] = {
    { "vc", "There is no graphical console: use stdio, pty or socket." },
    { "parallel", "There are no parallel ports in the machines." }, { "parport", "There are no parallel ports in the machines." },
    { "console", "Use stdio." }, { "braille", NULL }, { "msmouse", NULL }, { "wctablet", NULL },
    { "testdev", NULL }, { "hub", "Use mux=on." },
    { "spicevmc", "There is no SPICE: a virtserialport on a socket does for an agent." },
    { "spiceport", "There is no SPICE: a virtserialport on a socket does for an agent." },
    { "qemu-vdagent", NULL }, { "dbus", NULL },
    { NULL, NULL }
};

static Err *no_backend(const char *name)
{
    const char *names[G_N_ELEMENTS(classes)];
    Err *e = NULL;
    int i;

    for (i = 0; classes[i]; i++)
        names[i] = classes[i]->name;
    names[i] = NULL;
    for (i = 0; elsewhere[i][0]; i++) {
        if (!strcmp(elsewhere[i][0], name)) {
            e = err(ERR_UNSUPPORTED, "the backend '%s' is not available", name);
            if (elsewhere[i][1])
                return err_hint(e, "%s", elsewhere[i][1]);
        }
    }
    if (!e)
        e = err(ERR_NOT_FOUND, "there is no backend '%s'", name);
    const char *near = nearest_name(name, names);
    char *all = g_strjoinv(", ", (char **)names);
    e = near ? err_hint(e, "Did you mean '%s'? There are: %s", near, all)
             : err_hint(e, "There are: %s", all);
    g_free(all);
    return e;
}

static Err *open_log(Chardev *c, const Opts *o)
{
    const char *path = opts_str(o, "logfile", NULL);
    int how = opts_bool(o, "logappend", false) ? O_APPEND : O_TRUNC;

    if (!path)
        return NULL;
    c->log_fd = chr_open_file(c, path, O_WRONLY | O_CREAT | how);
    return c->log_fd < 0 ? err_path(errno, path, "cannot write the log file '%s'", path) : NULL;
}

/* A backend by its options; with mux=on, the mux over it is what has the id. */
static Err *make_by_opts(Chardevs *set, const ChardevClass *cls, const Opts *o, Chardev **out)
{
    const char *id = opts_str(o, "id", NULL);
    bool mux = opts_bool(o, "mux", false);

    if (!id || !*id)
        return err_hint(err(ERR_INVALID, "it has no id"), "Add id=NAME.");
    if (lookup(set, id))
        return err(ERR_BUSY, "Chardev with id '%s' already exists", id);
    char *below = mux ? g_strconcat(id, "-base", NULL) : g_strdup(id);
    Err *e = chardev_make(set, cls, below, o, out);
    g_free(below);
    if (!e)
        e = open_log(*out, o);
    if (!e && mux)
        e = mux_new(set, id, *out, false, out);
    return e;
}

Err *chardev_add_opts(Chardevs *set, const char *arg, Chardev **out)
{
    const ChardevClass *cls = NULL;
    Chardev *c;
    char *backend, *rest = opts_rest(arg, &backend);
    const char *name = g_str_has_prefix(backend, "backend=") ? backend + 8 : backend;
    Err *e = NULL;

    for (int i = 0; classes[i]; i++) {
        if (!strcmp(classes[i]->name, name))
            cls = classes[i];
    }
    if (!cls) {
        e = no_backend(name);
    } else {
        OptDesc *descs = all_opts(cls);
        Opts *o;

        e = opts_parse(rest, descs, NULL, &o);
        if (!e)
            e = make_by_opts(set, cls, o, &c);
        opts_free(o);
        g_free(descs);
    }
    g_free(backend);
    g_free(rest);
    if (!e && out)
        *out = c;
    return e;
}

Err *chardev_add_text(Chardevs *set, const char *arg, Chardev **out)
{
    return chardev_add_opts(set, arg, out);
}

Err *chardev_add(Chardevs *set, const char *arg, Chardev **out)
{
    return err_in(chardev_add_opts(set, arg, out), "-chardev %s", arg);
}

char *chardev_help(const char *backend)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; classes[i]; i++) {
        if (backend && strcmp(backend, classes[i]->name))
            continue;
        g_string_append_printf(s, "%-10s %s\n", classes[i]->name, classes[i]->doc);
        if (backend) {
            OptDesc *descs = all_opts(classes[i]);
            char *text = opts_help(descs);

            g_string_append(s, text);
            g_free(text);
            g_free(descs);
        }
    }
    return g_string_free(s, FALSE);
}
