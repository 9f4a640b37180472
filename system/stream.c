/* SPDX-License-Identifier: MIT */
/*
 * Writing and reading the saved form of a machine's parts: stream.h says how it
 * looks. Reading takes everything apart first; a field that is asked for is
 * looked up by its name, and what nobody asked for is found at the end.
 */
#include "system/stream.h"

#include <inttypes.h>
#include <string.h>

#include "system/clock.h"
#include "system/vm.h"

enum { NAME_MAX_ = 255, SECTION_NAME_MAX = 4096, HEAD = 8 /* version, length */ };

/* ---- writing */

struct StateOut {
    GByteArray *bytes;
    size_t length_at;               /* of the open section; 0: none is open */
};

static void put_le(GByteArray *b, uint64_t v, unsigned bytes)
{
    uint8_t le[8];

    for (unsigned i = 0; i < bytes; i++)
        le[i] = v >> 8 * i;
    g_byte_array_append(b, le, bytes);
}

StateOut *state_out_new(void)
{
    StateOut *o = g_new0(StateOut, 1);

    o->bytes = g_byte_array_new();
    return o;
}

static void end_section(StateOut *o)
{
    if (!o->length_at)
        return;
    uint32_t len = o->bytes->len - o->length_at - 4;
    for (unsigned i = 0; i < 4; i++)
        o->bytes->data[o->length_at + i] = len >> 8 * i;
    o->length_at = 0;
}

GByteArray *state_out_end(StateOut *o)
{
    GByteArray *b = o->bytes;

    end_section(o);
    g_free(o);
    return b;
}

void state_out_free(StateOut *o)
{
    if (o)
        g_byte_array_free(state_out_end(o), true);
}

void state_begin(StateOut *o, const char *section, unsigned version)
{
    size_t len = strlen(section);

    end_section(o);
    g_assert(len && len <= SECTION_NAME_MAX);
    put_le(o->bytes, len, 2);
    g_byte_array_append(o->bytes, (const uint8_t *)section, len);
    put_le(o->bytes, version, 4);
    o->length_at = o->bytes->len;
    put_le(o->bytes, 0, 4);
}

static void put_name(StateOut *o, const char *name, unsigned bytes, size_t count)
{
    size_t len = strlen(name);

    g_assert(o->length_at && len && len <= NAME_MAX_ && count <= UINT32_MAX);
    put_le(o->bytes, len, 1);
    g_byte_array_append(o->bytes, (const uint8_t *)name, len);
    put_le(o->bytes, bytes, 1);
    put_le(o->bytes, count, 4);
}

/* Hosts are little-endian: what lies in memory is what is written. */
G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

void state_put(StateOut *o, const char *name, unsigned bytes, const void *data, size_t count)
{
    put_name(o, name, bytes, count);
    if (count)
        g_byte_array_append(o->bytes, data, bytes * count);
}

void state_put_u64(StateOut *o, const char *name, uint64_t v)
{
    put_name(o, name, 8, 1);
    put_le(o->bytes, v, 8);
}

void state_put_text(StateOut *o, const char *name, const char *text)
{
    state_put(o, name, 1, text ? text : "", text ? strlen(text) : 0);
}

/* ---- tables */

static bool is_saved(const Field *f)
{
    return f->role == FIELD_STATE;
}

static bool is_plain(const Field *f)
{
    return f->type >= FIELD_BOOL && f->type <= FIELD_I64;
}

unsigned state_fields_version(const Field *table)
{
    unsigned version = 1;

    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (is_saved(f) && f->since > (int)version)
            version = f->since;
    }
    return version;
}

/* A timer is when it goes off, -1: not at all; of CLOCK_REAL, which starts anew with each host: how long until then. */
static int64_t timer_out(const Timer *t)
{
    if (!t->vm || t->when < 0 || t->kind != CLOCK_REAL)
        return t->vm ? t->when : -1;
    int64_t left = t->when - clock_now(t->vm, CLOCK_REAL);
    return left < 0 ? 0 : left;
}

static void timer_in(Timer *t, int64_t when)
{
    if (!t->vm)
        return;
    timer_del(t);
    if (when < 0)
        return;
    if (t->kind == CLOCK_REAL && __builtin_add_overflow(when, clock_now(t->vm, CLOCK_REAL), &when))
        when = INT64_MAX;
    timer_set(t, when);
}

void state_put_fields(StateOut *o, const char *prefix, const Field *table, const void *obj)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (!is_saved(f))
            continue;
        g_autofree char *name = g_strconcat(prefix, f->name, NULL);

        if (f->type == FIELD_TIMER) {
            put_name(o, name, 8, f->count);
            for (unsigned i = 0; i < f->count; i++)
                put_le(o->bytes, timer_out(field_at((void *)obj, f, i)), 8);
        } else {
            g_assert(is_plain(f));
            state_put(o, name, f->bytes, field_at((void *)obj, f, 0), f->count);
        }
    }
}

/* ---- reading */

typedef struct Item { char *name; uint8_t bytes; uint32_t count; const uint8_t *data; bool read; } Item;
typedef struct Section { char *name; unsigned version; GArray *items; GHashTable *by_name; bool read; } Section;

struct StateIn {
    uint8_t *data;
    GPtrArray *sections;
    GHashTable *by_name;
    Section *at;                    /* the open one */
};

/* A cursor that never passes the end. */
typedef struct Cut { const uint8_t *at; size_t left; } Cut;

static bool cut(Cut *c, size_t n, const uint8_t **out)
{
    if (c->left < n)
        return false;
    *out = c->at;
    c->at += n;
    c->left -= n;
    return true;
}

static bool cut_le(Cut *c, unsigned bytes, uint64_t *v)
{
    const uint8_t *p;

    if (!cut(c, bytes, &p))
        return false;
    *v = 0;
    for (unsigned i = 0; i < bytes; i++)
        *v |= (uint64_t)p[i] << 8 * i;
    return true;
}

/* Letters that can be shown: names go into messages. */
static bool cut_name(Cut *c, size_t len, char **out)
{
    const uint8_t *p;

    if (!len || !cut(c, len, &p))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (p[i] < 0x20 || p[i] > 0x7e)
            return false;
    }
    *out = g_strndup((const char *)p, len);
    return true;
}

static void section_free(void *opaque)
{
    Section *s = opaque;

    for (guint i = 0; i < s->items->len; i++)
        g_free(g_array_index(s->items, Item, i).name);
    g_array_free(s->items, true);
    g_hash_table_unref(s->by_name);
    g_free(s->name);
    g_free(s);
}

static Err *damaged(const char *section, const char *what)
{
    return section ? err(ERR_INVALID, "saved state is damaged: section '%s': %s", section, what)
                   : err(ERR_INVALID, "saved state is damaged: %s", what);
}

static Err *read_item(Cut *c, Section *s)
{
    uint64_t len, bytes, count;
    Item it = { 0 };

    if (!cut_le(c, 1, &len) || !cut_name(c, len, &it.name))
        return damaged(s->name, "a name of a field is cut or no name");
    bool good = cut_le(c, 1, &bytes) && cut_le(c, 4, &count) && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8)
        && cut(c, bytes * count, &it.data);
    if (!good || g_hash_table_contains(s->by_name, it.name)) {
        Err *e = err(ERR_INVALID, "saved state is damaged: section '%s': field '%s' is %s", s->name, it.name,
                     good ? "there twice" : "cut");

        g_free(it.name);
        return e;
    }
    it.bytes = bytes;
    it.count = count;
    g_array_append_val(s->items, it);
    g_hash_table_insert(s->by_name, it.name, GUINT_TO_POINTER(s->items->len));
    return NULL;
}

static Err *read_section(Cut *c, StateIn *in)
{
    uint64_t len, version, bytes;
    char *name = NULL;
    const uint8_t *body;

    if (!cut_le(c, 2, &len) || len > SECTION_NAME_MAX || !cut_name(c, len, &name))
        return damaged(NULL, "the name of a section is cut or no name");
    bool good = cut_le(c, 4, &version) && cut_le(c, 4, &bytes) && cut(c, bytes, &body);
    if (!good || g_hash_table_contains(in->by_name, name)) {
        Err *e = damaged(name, good ? "it is there twice" : "it is cut");

        g_free(name);
        return e;
    }
    Section *s = g_new0(Section, 1);
    *s = (Section){ name, version, g_array_new(false, false, sizeof(Item)), g_hash_table_new(g_str_hash, g_str_equal), false };
    g_ptr_array_add(in->sections, s);
    g_hash_table_insert(in->by_name, name, s);
    for (Cut b = { body, bytes }; b.left;)
        TRY(read_item(&b, s));
    return NULL;
}

Err *state_in_new(const void *data, size_t len, StateIn **out)
{
    StateIn *in = g_new0(StateIn, 1);
    Err *e = NULL;

    in->data = g_memdup2(data, len);
    in->sections = g_ptr_array_new_with_free_func(section_free);
    in->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (Cut c = { in->data, len }; c.left && !e;)
        e = read_section(&c, in);
    if (e)
        state_in_free(in);
    else
        *out = in;
    return e;
}

void state_in_free(StateIn *in)
{
    if (!in)
        return;
    g_hash_table_unref(in->by_name);
    g_ptr_array_free(in->sections, true);
    g_free(in->data);
    g_free(in);
}

bool state_has_section(const StateIn *in, const char *section)
{
    return g_hash_table_contains(in->by_name, section);
}

Err *state_open(StateIn *in, const char *section, unsigned version)
{
    in->at = g_hash_table_lookup(in->by_name, section);
    if (!in->at)
        return err(ERR_NOT_FOUND, "saved state has nothing of '%s'", section);
    in->at->read = true;
    if (in->at->version > version || !in->at->version)
        return err_hint(err(ERR_UNSUPPORTED, "'%s' was saved as version %u, and this program knows up to %u",
                            section, in->at->version, version), "A newer version of this program wrote it.");
    return NULL;
}

unsigned state_version(const StateIn *in)
{
    return in->at ? in->at->version : 0;
}

Err *state_close(StateIn *in)
{
    Section *s = in->at;

    in->at = NULL;
    for (guint i = 0; s && i < s->items->len; i++) {
        const Item *it = &g_array_index(s->items, Item, i);

        if (!it->read)
            return err(ERR_UNSUPPORTED, "'%s' was saved with a field '%s', which is not known here", s->name, it->name);
    }
    return NULL;
}

Err *state_all_read(const StateIn *in)
{
    for (guint i = 0; i < in->sections->len; i++) {
        const Section *s = in->sections->pdata[i];

        if (!s->read)
            return err_hint(err(ERR_NOT_FOUND, "saved state has a '%s', which this machine has not", s->name),
                            "The machine has to be made with the same options.");
    }
    return NULL;
}

void state_each_section(const StateIn *in, void (*fn)(const char *, void *), void *opaque)
{
    for (guint i = 0; i < in->sections->len; i++)
        fn(((Section *)in->sections->pdata[i])->name, opaque);
}

static Item *lookup(const StateIn *in, const char *name)
{
    guint n = in->at ? GPOINTER_TO_UINT(g_hash_table_lookup(in->at->by_name, name)) : 0;

    return n ? &g_array_index(in->at->items, Item, n - 1) : NULL;
}

bool state_has(const StateIn *in, const char *name)
{
    return lookup(in, name);
}

Err *state_get_any(StateIn *in, const char *name, unsigned bytes, size_t max, const void **data, size_t *count)
{
    Item *it = lookup(in, name);

    if (!it)
        return err(ERR_INVALID, "'%s' was saved without its field '%s'", in->at ? in->at->name : "?", name);
    if (it->bytes != bytes || it->count > max)
        return err(ERR_INVALID, "'%s' was saved with %u elements of %u bytes as its field '%s', which has at most %zu of %u here",
                   in->at->name, it->count, it->bytes, name, max, bytes);
    it->read = true;
    *data = it->data;
    *count = it->count;
    return NULL;
}

Err *state_get(StateIn *in, const char *name, unsigned bytes, void *data, size_t count)
{
    const void *p;
    size_t n;

    TRY(state_get_any(in, name, bytes, count, &p, &n));
    if (n != count)
        return err(ERR_INVALID, "'%s' was saved with %zu elements as its field '%s', which has %zu here", in->at->name, n, name, count);
    if (count)
        memcpy(data, p, bytes * count);
    return NULL;
}

Err *state_get_u64(StateIn *in, const char *name, uint64_t max, uint64_t *v)
{
    TRY(state_get(in, name, 8, v, 1));
    if (*v > max)
        return err(ERR_INVALID, "'%s' was saved with %" PRIu64 " as its field '%s', which is at most %" PRIu64,
                   in->at->name, *v, name, max);
    return NULL;
}

Err *state_get_text(StateIn *in, const char *name, char **out)
{
    const void *p;
    size_t n;

    TRY(state_get_any(in, name, 1, 1 << 20, &p, &n));
    *out = g_strndup(p, n);
    return NULL;
}

/* A bool of another value than 0 and 1 is none. */
static Err *check_bools(const StateIn *in, const Field *f, const uint8_t *v)
{
    for (unsigned i = 0; f->type == FIELD_BOOL && i < f->count; i++) {
        if (v[i] > 1)
            return err(ERR_INVALID, "'%s' was saved with %u as its field '%s', which is a bool", in->at->name, v[i], f->name);
    }
    return NULL;
}

static Err *get_field(StateIn *in, const char *name, const Field *f, void *obj)
{
    if (f->type == FIELD_TIMER) {
        g_autofree int64_t *when = g_new(int64_t, f->count);

        TRY(state_get(in, name, 8, when, f->count));
        for (unsigned i = 0; i < f->count; i++)
            timer_in(field_at(obj, f, i), when[i]);
        return NULL;
    }
    const void *p;
    size_t n;
    g_assert(is_plain(f));
    TRY(state_get_any(in, name, f->bytes, f->count, &p, &n));
    if (n != f->count)
        return err(ERR_INVALID, "'%s' was saved with %zu elements as its field '%s', which has %u here", in->at->name, n, name, f->count);
    TRY(check_bools(in, f, p));
    memcpy(field_at(obj, f, 0), p, n * f->bytes);
    return NULL;
}

Err *state_get_fields(StateIn *in, const char *prefix, const Field *table, void *obj)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (!is_saved(f) || f->since > (int)state_version(in))
            continue;
        g_autofree char *name = g_strconcat(prefix, f->name, NULL);

        TRY(get_field(in, name, f, obj));
    }
    return NULL;
}
