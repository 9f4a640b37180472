/* SPDX-License-Identifier: MIT */
/*
 * Migration: memory is sent while the machine runs, and again what it changes
 * meanwhile, until the rest can be sent within the pause that is allowed; then the
 * machine stands, and the rest and its state follow.
 *
 *   head:    magic, u32 version
 *   record:  u8 kind, 3 bytes 0, u32 count, u64 first
 *     C      count bytes: the machine, to be checked first        (first: checksum)
 *     P      count pages from page `first` of the machine's memory on, all blocks one behind the other
 *     Z      count pages of zeros
 *     S      count bytes: the state, as in a snapshot             (first: checksum)
 *     E      the end; first: bit 0 if the machine ran, bit 1 if an answer is awaited
 *   answer:  A      first: 1 if the machine is whole there; anything else, or none: it goes on here
 *
 * A thread of its own sends or receives; what touches the machine beside its
 * memory is done in the main thread. Which pages changed: PAGE_MIGRATE of a page says
 * that nobody has stored there since it was set (system/mem.h).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "system/disks.h"
#include "system/migrate-priv.h"
#include "system/vmconfig.h"

const char *const migrate_status_names[] = { "none", "setup", "active", "completed", "failed", "cancelling", "cancelled", NULL };

enum { VERSION = 1, CHUNK_PAGES = 256, CONFIG_MAX = 1 << 20, STATE_MAX = 256 << 20, SLICE_US = 50000 };
static const char magic[16] = "Lyre migration\n";

typedef struct Record { uint8_t kind, zero[3]; uint32_t count; uint64_t first; } Record;

static Migration *migration_of(Vm *vm)
{
    State *s = state_of(vm);

    if (!s->migration) {
        Migration *m = s->migration = g_new0(Migration, 1);

        m->vm = vm;
        m->fd = m->listener = -1;
        m->params = (MigrateParams){ 128 << 20, 300, false };
        pthread_mutex_init(&m->lock, NULL);
        pthread_cond_init(&m->cond, NULL);
    }
    return s->migration;
}

static int64_t now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

/* ---- telling */

static void tell(Migration *m, MigrateStatus status)
{
    atomic_store(&m->status, status);
    if (m->fn)
        m->fn(m->fn_opaque, status, 0);
}

static void tell_active(void *opaque)
{
    Migration *m = opaque;

    if (m->status == MIGRATE_SETUP)
        tell(m, MIGRATE_ACTIVE);
}

static void tell_pass(void *opaque)
{
    Migration *m = opaque;

    if (m->fn && m->status == MIGRATE_ACTIVE)
        m->fn(m->fn_opaque, MIGRATE_ACTIVE, atomic_load(&m->passes));
}

/* It was not sent: the disks are ours again, unless somebody has taken them. */
static void go_on_here(Migration *m)
{
    Err *e = m->vm->disks ? disks_take_images(m->vm->disks) : NULL;

    if (e)
        err_report(err_in(e, "the machine stands: its disks cannot be used again"));
    else if (m->ran)
        vm_start(m->vm);
    if (m->vm->state == RUN_FINISH_MIGRATE)
        m->vm->state = m->ran ? RUN_PAUSED : m->before;
}

/* The thread has ended: what came of it. Main thread, under the lock. */
static void finish(void *opaque)
{
    Migration *m = opaque;
    Err *e = m->result;

    pthread_join(m->thread, NULL);
    m->threaded = false;
    m->result = NULL;
    migration_close(m);
    g_clear_pointer(&m->blob, g_byte_array_unref);
    m->total_ms = now_ms() - m->began;
    if (m->paused)
        m->downtime_ms = now_ms() - m->paused;
    if (e && !m->incoming)
        go_on_here(m);
    else if (!m->incoming && m->vm->state == RUN_FINISH_MIGRATE)
        m->vm->state = RUN_POSTMIGRATE;
    m->ran = false;
    g_clear_pointer(&m->error, g_free);
    if (!e) {
        tell(m, MIGRATE_COMPLETED);
    } else if (atomic_load(&m->cancel)) {
        tell(m, MIGRATE_CANCELLED);
    } else {
        m->error = g_strdup(err_text(e));
        tell(m, MIGRATE_FAILED);
    }
    if (e && m->incoming && !atomic_load(&m->cancel)) {
        err_report(err_in(e, "-incoming"));
        vm_request(m->vm, VM_QUIT, 1);  /* half a machine is none */
    } else {
        err_free(e);
    }
}

/* ---- sending */

static Err *put(Migration *m, const void *data, size_t len)
{
    return migration_write(m, data, len);
}

static Err *put_record(Migration *m, char kind, uint32_t count, uint64_t first)
{
    const Record r = { .kind = kind, .count = count, .first = first };

    return put(m, &r, sizeof(r));
}

static Err *put_blob(Migration *m, char kind, const GByteArray *b)
{
    TRY(put_record(m, kind, b->len, state_crc(b->data, b->len)));
    return put(m, b->data, b->len);
}

/* Not faster than it may: what was sent has its time. A cancel, and another limit, are heard within SLICE_US. */
static void keep_pace(Migration *m, size_t bytes)
{
    uint64_t limit = m->params.max_bandwidth;
    int64_t now = g_get_monotonic_time();

    if (!limit || m->paused)
        return;
    m->due = MAX(m->due, now) + (int64_t)((double)bytes * 1e6 / (double)limit);
    while (m->due - now > SLICE_US / 10 && !atomic_load(&m->cancel) && m->params.max_bandwidth == limit) {
        g_usleep(MIN(m->due - now, SLICE_US));
        now = g_get_monotonic_time();
    }
    if (m->params.max_bandwidth != limit)
        m->due = now;
}

static bool is_zero(const uint8_t *p)
{
    return !p[0] && !memcmp(p, p + 1, PAGE_SIZE - 1);
}

/* A run of pages of one kind. */
static Err *send_run(Migration *m, const RamBlock *b, uint64_t first, uint64_t from, uint64_t n, bool zero)
{
    if (!n)
        return NULL;
    TRY(put_record(m, zero ? 'Z' : 'P', n, first + from));
    if (zero) {
        m->zero_pages += n;
        return NULL;
    }
    TRY(put(m, b->host + (from << PAGE_BITS), n << PAGE_BITS));
    m->pages += n;
    m->sent += n << PAGE_BITS;
    if (m->paused)
        m->late += n << PAGE_BITS;
    keep_pace(m, n << PAGE_BITS);
    return NULL;
}

/* What of a block is marked in `todo`; first: the number of its first page. */
static Err *send_block(Migration *m, const RamBlock *b, uint64_t first, const uint8_t *todo)
{
    uint64_t from = 0, n = 0;
    bool zero = false;

    for (uint64_t i = 0; i < b->size >> PAGE_BITS; i++) {
        bool z = todo[i] && is_zero(b->host + (i << PAGE_BITS));

        if (n && (!todo[i] || z != zero || n == (zero ? 1u << 20 : CHUNK_PAGES))) {
            TRY(send_run(m, b, first, from, n, zero));
            n = 0;
        }
        if (!todo[i])
            continue;
        if (!n++)
            from = i;
        zero = z;
    }
    return send_run(m, b, first, from, n, zero);
}

/* Marks what was stored to since the last time; from here on stores are seen again. */
static uint64_t take_dirty(RamBlock *b, uint8_t *todo)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < b->size >> PAGE_BITS; i++) {
        todo[i] = !(atomic_fetch_or(&b->pages[i], PAGE_MIGRATE) & PAGE_MIGRATE);
        n += todo[i];
    }
    return n;
}

static uint64_t count_dirty(const Vm *vm)
{
    uint64_t n = 0;

    for (const RamBlock *b = vm->rams; b; b = b->next) {
        for (uint64_t i = 0; i < b->size >> PAGE_BITS; i++)
            n += !(atomic_load_explicit(&b->pages[i], memory_order_relaxed) & PAGE_MIGRATE);
    }
    return n;
}

static void forget_dirty(Vm *vm)
{
    for (RamBlock *b = vm->rams; b; b = b->next) {
        for (uint64_t i = 0; i < b->size >> PAGE_BITS; i++)
            atomic_fetch_and(&b->pages[i], (uint8_t)~PAGE_MIGRATE);
    }
}

/* All that is dirty now. Pages are marked first, then nobody may store there unseen, then they are read. */
static Err *send_pass(Migration *m)
{
    uint64_t first = 0, pages = 0;

    for (const RamBlock *b = m->vm->rams; b; b = b->next)
        pages += b->size >> PAGE_BITS;
    g_autofree uint8_t *todo = g_malloc(pages);
    for (RamBlock *b = m->vm->rams; b; b = b->next) {
        take_dirty(b, todo + first);
        first += b->size >> PAGE_BITS;
    }
    if (ram_revoke_stores && !m->paused)
        ram_revoke_stores(m->vm);
    first = 0;
    for (RamBlock *b = m->vm->rams; b; b = b->next) {
        TRY(send_block(m, b, first, todo + first));
        first += b->size >> PAGE_BITS;
    }
    m->passes++;
    return NULL;
}

/* Passes until the rest fits into the pause. */
static Err *send_memory(Migration *m)
{
    for (;;) {
        uint64_t was = m->sent, dirty;
        int64_t began = g_get_monotonic_time();

        TRY(send_pass(m));
        vm_call_main(m->vm, tell_pass, m);
        int64_t us = MAX(g_get_monotonic_time() - began, 1);
        dirty = count_dirty(m->vm) << PAGE_BITS;
        m->left = dirty;
        m->dirty_rate = (dirty >> PAGE_BITS) * 1000000 / us;
        if (m->sent - was > 1 << 20 || !m->rate)
            m->rate = (m->sent - was) * 1000000 / us;
        m->expected_ms = m->rate ? dirty * 1000 / m->rate : 0;
        if (!dirty || (uint64_t)m->expected_ms <= m->params.downtime_ms)
            return NULL;
    }
}

/* Main thread, under the lock. */
static void hand_over(void *opaque)
{
    Migration *m = opaque;
    Vm *vm = m->vm;
    int64_t began = now_ms();

    m->before = vm->state;
    m->ran = vm->state == RUN_RUNNING;
    vm_stop(vm, RUN_FINISH_MIGRATE);
    Err *e = state_can_save(vm);
    GByteArray *blob = e ? NULL : state_gather(vm);
    if (!e && vm->disks)
        e = disks_hand_over(vm->disks);
    if (e)
        g_clear_pointer(&blob, g_byte_array_unref);
    pthread_mutex_lock(&m->lock);
    m->paused = began;
    m->blob = blob;
    m->handed_error = e;
    m->handed = true;
    pthread_cond_broadcast(&m->cond);
    pthread_mutex_unlock(&m->lock);
}

static Err *wait_handed(Migration *m)
{
    Err *e = NULL;

    m->handed = false;
    vm_call_main(m->vm, hand_over, m);
    pthread_mutex_lock(&m->lock);
    while (!m->handed && !atomic_load(&m->gone))
        pthread_cond_wait(&m->cond, &m->lock);
    if (!m->handed)
        e = err(ERR_BUSY, "the machine ends");
    else
        e = m->handed_error;
    m->handed_error = NULL;
    pthread_mutex_unlock(&m->lock);
    return e;
}

/* Where there is a way back, and whoever sends wants it used. exec's command and files say nothing. */
static bool wants_answer(const Migration *m)
{
    return m->params.return_path && m->shared && !m->child;
}

static Err *await_answer(Migration *m)
{
    Record r;

    TRY(err_in(migration_read(m, &r, sizeof(r)), "the other side's answer"));
    if (r.kind != 'A' || r.first != 1)
        return err_hint(err(ERR_IO, "the other side could not take it"), "What it says there tells why.");
    return NULL;
}

static Err *send_all(Migration *m)
{
    uint32_t version = VERSION;

    TRY(migration_open_out(m));
    m->setup_ms = now_ms() - m->began;
    vm_call_main(m->vm, tell_active, m);
    TRY(put(m, magic, sizeof(magic)));
    TRY(put(m, &version, sizeof(version)));
    TRY(put_blob(m, 'C', m->config));
    forget_dirty(m->vm);
    TRY(send_memory(m));
    TRY(wait_handed(m));
    TRY(send_pass(m));
    TRY(put_blob(m, 'S', m->blob));
    bool answer = wants_answer(m);
    TRY(put_record(m, 'E', 0, m->ran | answer << 1));
    if (answer)
        TRY(await_answer(m));
    return migration_close_out(m);
}

static void *send_thread(void *opaque)
{
    Migration *m = opaque;

    m->result = send_all(m);
    forget_dirty(m->vm);
    vm_call_main(m->vm, finish, m);
    return NULL;
}

/* ---- receiving */

static Err *get(Migration *m, void *data, size_t len)
{
    return migration_read(m, data, len);
}

static Err *damaged(void)
{
    return err(ERR_INVALID, "what was sent is damaged");
}

static Err *get_blob(Migration *m, const Record *r, uint32_t max, GByteArray **out)
{
    if (r->count > max)
        return damaged();
    GByteArray *b = g_byte_array_new();
    g_byte_array_set_size(b, r->count);
    Err *e = get(m, b->data, r->count);
    if (!e && state_crc(b->data, b->len) != r->first)
        e = damaged();
    if (e)
        g_byte_array_unref(b);
    else
        *out = b;
    return e;
}

static Err *get_pages(Migration *m, const Record *r)
{
    uint64_t first = r->first, left = r->count;

    for (RamBlock *b = m->vm->rams; b && left; b = b->next) {
        uint64_t n = b->size >> PAGE_BITS;

        if (first >= n) {
            first -= n;
            continue;
        }
        n = MIN(n - first, left);
        uint8_t *at = b->host + (first << PAGE_BITS);
        if (r->kind == 'P') {
            TRY(get(m, at, n << PAGE_BITS));
        } else {
            for (uint64_t i = 0; i < n; i++) {          /* what is zero already takes no memory by that */
                if (!is_zero(at + (i << PAGE_BITS)))
                    memset(at + (i << PAGE_BITS), 0, PAGE_SIZE);
            }
        }
        m->pages += n;
        left -= n;
        first = 0;
    }
    return left ? damaged() : NULL;
}

static Err *get_config(Migration *m, const Record *r)
{
    GByteArray *b = NULL;

    TRY(get_blob(m, r, CONFIG_MAX, &b));
    Err *e = state_check_machine(m->vm, b->data, b->len);
    g_byte_array_unref(b);
    return e;
}

static Err *receive_all(Migration *m)
{
    char head[sizeof(magic)];
    uint32_t version;
    bool checked = false;
    Record r;

    TRY(migration_open_in(m));
    TRY(get(m, head, sizeof(head)));
    vm_call_main(m->vm, tell_active, m);
    if (memcmp(head, magic, sizeof(magic)))
        return err(ERR_INVALID, "what comes is no machine of this program");
    TRY(get(m, &version, sizeof(version)));
    if (version != VERSION)
        return err(ERR_UNSUPPORTED, "it is sent as version %u, and this program knows %d", version, VERSION);
    for (;;) {
        TRY(get(m, &r, sizeof(r)));
        if (r.kind == 'C' && !checked) {
            TRY(get_config(m, &r));
            checked = true;
        } else if ((r.kind == 'P' || r.kind == 'Z') && checked) {
            TRY(get_pages(m, &r));
        } else if (r.kind == 'S' && checked && !m->blob) {
            TRY(get_blob(m, &r, STATE_MAX, &m->blob));
        } else if (r.kind == 'E' && m->blob && r.first <= 3) {
            m->ran = r.first & 1;
            m->answers = r.first >> 1;
            return NULL;
        } else {
            return damaged();
        }
    }
}

/* All has come. Main thread, under the lock. */
static void arrived(void *opaque)
{
    Migration *m = opaque;
    bool run = m->ran && m->start;

    m->awaited = false;
    if (!m->result)
        m->result = state_check(m->vm, m->blob->data, m->blob->len);
    if (!m->result && m->vm->disks && (run || !migrate_params(m->vm)->late_activate))
        m->result = err_in(disks_take_images(m->vm->disks), "disks");
    if (!m->result) {
        state_touch_memory(m->vm);
        m->result = state_apply(m->vm, m->blob->data, m->blob->len);
    }
    if (m->answers) {               /* who does not get it goes on there, so we may not */
        Err *e = put_record(m, 'A', 0, !m->result);

        if (m->result)
            err_free(e);
        else
            m->result = e;
    }
    if (!m->result && run)
        vm_start(m->vm);
    else if (!m->result)
        m->vm->state = RUN_PAUSED;
    finish(m);
}

static void *receive_thread(void *opaque)
{
    Migration *m = opaque;

    m->result = receive_all(m);
    vm_call_main(m->vm, arrived, m);
    return NULL;
}

/* ---- for others */

static Err *start_thread(Migration *m, const char *uri, void *(*fn)(void *))
{
    g_free(m->uri);
    m->uri = g_strdup(uri);
    atomic_store(&m->cancel, false);
    m->began = now_ms();
    m->due = 0;
    m->paused = m->total_ms = m->setup_ms = m->downtime_ms = m->expected_ms = 0;
    m->pages = m->zero_pages = m->late = m->passes = m->sent = m->left = m->rate = m->dirty_rate = 0;
    m->ran = m->answers = false;
    yank_add(m->vm->yanks, &m->yank, YANK_MIGRATION, NULL);
    tell(m, MIGRATE_SETUP);
    int r = pthread_create(&m->thread, NULL, fn, m);
    m->threaded = !r;
    if (!r)
        return NULL;
    yank_remove(&m->yank);
    tell(m, MIGRATE_FAILED);
    return err_errno(r, "cannot start a thread");
}

Err *migrate_start(Vm *vm, const char *uri)
{
    Migration *m = migration_of(vm);

    if (m->threaded || m->awaited)
        return err(ERR_BUSY, "There's a migration process in progress");
    if (vm->state == RUN_POSTMIGRATE)
        return err_hint(err(ERR_INVALID, "Can't migrate the vm that was paused due to previous migration"), "cont takes it back.");
    TRY(migration_check_uri(uri));
    TRY(state_can_save(vm));
    m->incoming = false;
    g_clear_pointer(&m->config, g_byte_array_unref);
    m->config = state_gather_machine(vm);
    return start_thread(m, uri, send_thread);
}

Err *migrate_incoming(Vm *vm, const char *uri, bool start)
{
    Migration *m = migration_of(vm);

    if (m->threaded)
        return err(ERR_BUSY, "There's a migration process in progress");
    m->start = start;
    m->awaited = true;
    m->incoming = true;
    if (!strcmp(uri, "defer"))
        return NULL;
    TRY(migration_check_uri(uri));
    m->uri = (g_free(m->uri), g_strdup(uri));
    TRY(migration_listen(m));
    return start_thread(m, uri, receive_thread);
}

void migrate_cancel(Vm *vm)
{
    Migration *m = migration_of(vm);

    if (!m->threaded)
        return;
    atomic_store(&m->cancel, true);
    tell(m, MIGRATE_CANCELLING);
}

void migrate_info(Vm *vm, MigrateInfo *out)
{
    const Migration *m = migration_of(vm);

    *out = (MigrateInfo){
        .status = m->status, .incoming = m->incoming, .error = m->error,
        .total_ms = m->threaded ? now_ms() - m->began : m->total_ms, .setup_ms = m->setup_ms, .downtime_ms = m->downtime_ms,
        .expected_downtime_ms = m->expected_ms, .ram_sent = m->sent, .ram_left = m->left, .pages = m->pages,
        .zero_pages = m->zero_pages, .downtime_bytes = m->late, .passes = m->passes, .dirty_rate = m->dirty_rate, .mbps = m->rate * 8.0 / 1e6,
    };
    for (const RamBlock *b = vm->rams; b; b = b->next)
        out->ram_total += b->size;
}

MigrateParams *migrate_params(Vm *vm)
{
    return &migration_of(vm)->params;
}

void migrate_on_event(Vm *vm, void (*fn)(void *, MigrateStatus, uint64_t), void *opaque)
{
    Migration *m = migration_of(vm);

    m->fn = fn;
    m->fn_opaque = opaque;
}

bool migrate_awaited(Vm *vm)
{
    return vm->saving && vm->saving->migration && vm->saving->migration->awaited;
}

void migrate_start_on_arrival(Vm *vm, bool start)
{
    migration_of(vm)->start = start;
}

bool migrate_starts_on_arrival(Vm *vm)
{
    return migration_of(vm)->start;
}

void migration_end(Vm *vm)
{
    Migration *m = vm->saving ? vm->saving->migration : NULL;

    if (!m || !m->threaded)
        return;
    atomic_store(&m->cancel, true);
    pthread_mutex_lock(&m->lock);
    atomic_store(&m->gone, true);
    pthread_cond_broadcast(&m->cond);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    m->threaded = false;
    err_free(m->result);
    m->result = NULL;
    migration_close(m);
}

void migration_free(Vm *vm)
{
    Migration *m = vm->saving->migration;

    if (!m)
        return;
    migration_end(vm);
    vm_forget_calls(vm, m);
    g_clear_pointer(&m->blob, g_byte_array_unref);
    g_clear_pointer(&m->config, g_byte_array_unref);
    err_free(m->handed_error);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->cond);
    g_free(m->uri);
    g_free(m->error);
    g_free(m);
    vm->saving->migration = NULL;
}
