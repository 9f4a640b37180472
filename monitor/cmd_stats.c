/* SPDX-License-Identifier: MIT */
/*
 * Statistics: KVM's, which there are none of, and how fast the guest changes its
 * memory. That is measured by samples: pages at random places are hashed, and once
 * more when the time is over.
 */
#include <string.h>

#include "monitor/monitor-priv.h"

Err *qmp_query_stats(Monitor *m, const QueryStatsArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *qmp_query_stats_schemas(Monitor *m, const QueryStatsSchemasArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *hmp_info_stats(Monitor *m, const HmpInfoStatsArgs *args, GString *out)
{
    if (strcmp(args->target, "vm") && strcmp(args->target, "vcpu"))
        return err(ERR_INVALID, "invalid stats target %s", args->target);
    return NULL;
}

/* ---- the rate of dirty memory */

typedef struct Sample { const uint8_t *page; uint64_t hash; } Sample;

struct DirtyRate {
    Monitors *set;
    GArray *samples;            /* while it goes on */
    GSource *due;
    bool measuring, measured;
    int64_t start, rate;        /* seconds of the host; MiB a second */
    int64_t period;             /* seconds */
    uint64_t per_gib;
};

static uint64_t hash_page(const uint8_t *page)
{
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15), word;

    for (size_t i = 0; i < PAGE_SIZE; i += sizeof(word)) {
        memcpy(&word, page + i, sizeof(word));
        h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 29;
    }
    return h;
}

static void stop_measuring(struct DirtyRate *d)
{
    if (d->due) {
        g_source_destroy(d->due);
        g_source_unref(d->due);
    }
    if (d->samples)
        g_array_free(d->samples, TRUE);
    d->due = NULL;
    d->samples = NULL;
    d->measuring = false;
}

void dirty_rate_free(Monitors *set)
{
    if (set->dirty_rate)
        stop_measuring(set->dirty_rate);
    g_clear_pointer(&set->dirty_rate, g_free);
}

static gboolean over(gpointer opaque)
{
    struct DirtyRate *d = opaque;
    Vm *vm = d->set->vm;
    uint64_t dirty = 0, total = 0;

    vm_lock(vm);
    for (guint i = 0; i < d->samples->len; i++) {
        const Sample *s = &g_array_index(d->samples, Sample, i);

        dirty += hash_page(s->page) != s->hash;
    }
    for (const RamBlock *b = vm->rams; b; b = b->next)
        total += b->readonly ? 0 : b->size;
    d->rate = d->samples->len ? (int64_t)((double)total / (1 << 20) * (double)dirty / d->samples->len / (double)d->period) : 0;
    stop_measuring(d);
    d->measured = true;
    vm_unlock(vm);
    return G_SOURCE_REMOVE;
}

static void take_samples(struct DirtyRate *d)
{
    d->samples = g_array_new(FALSE, FALSE, sizeof(Sample));
    for (const RamBlock *b = d->set->vm->rams; b; b = b->next) {
        uint64_t pages = b->size / PAGE_SIZE, n = MAX(d->per_gib * b->size >> 30, UINT64_C(1));

        for (uint64_t i = 0; !b->readonly && pages && i < n; i++) {
            uint64_t at = ((uint64_t)g_random_int() << 32 | g_random_int()) % pages;
            Sample s = { b->host + at * PAGE_SIZE, hash_page(b->host + at * PAGE_SIZE) };

            g_array_append_val(d->samples, s);
        }
    }
}

Err *qmp_calc_dirty_rate(Monitor *m, const CalcDirtyRateArgs *args, json_t **ret)
{
    struct DirtyRate *d = m->set->dirty_rate;
    int64_t pages = args->has_sample_pages ? args->sample_pages : 512;

    if (d && d->measuring)
        return err(ERR_BUSY, "the dirty rate is already being measured.");
    if (args->calc_time < 1 || args->calc_time > 60)
        return err(ERR_INVALID, "calc-time is out of range[1, 60].");
    if (args->has_mode && args->mode != QMP_DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING)
        return err_hint(err(ERR_UNSUPPORTED, "mode %s is not enabled, use other method instead.",
                            qmp_DirtyRateMeasureMode_names[args->mode]), "page-sampling is what there is.");
    if (pages < 128 || pages > 16384)
        return err(ERR_INVALID, "sample-pages is out of range[128, 16384].");
    if (!d)
        m->set->dirty_rate = d = g_new0(struct DirtyRate, 1);
    *d = (struct DirtyRate){ .set = m->set, .measuring = true, .start = g_get_monotonic_time() / 1000000, .period = args->calc_time,
                             .per_gib = (uint64_t)pages };
    take_samples(d);
    d->due = g_timeout_source_new_seconds((guint)args->calc_time);
    g_source_set_callback(d->due, over, d, NULL);
    g_source_attach(d->due, m->vm->main_context);
    return NULL;
}

Err *qmp_query_dirty_rate(Monitor *m, const QueryDirtyRateArgs *args, json_t **ret)
{
    static const struct DirtyRate none;
    const struct DirtyRate *d = m->set->dirty_rate ? m->set->dirty_rate : &none;

    *ret = json_pack("{s:s, s:I, s:I, s:I, s:s}", "status", d->measuring ? "measuring" : d->measured ? "measured" : "unstarted",
                     "start-time", (json_int_t)d->start, "calc-time", (json_int_t)d->period, "sample-pages", (json_int_t)d->per_gib,
                     "mode", "page-sampling");
    if (d->measured)
        json_object_set_new(*ret, "dirty-rate", json_integer(d->rate));
    return NULL;
}

Err *hmp_calc_dirty_rate(Monitor *m, const HmpCalcDirtyRateArgs *args, GString *out)
{
    CalcDirtyRateArgs a = { .calc_time = args->second, .has_sample_pages = args->has_pages, .sample_pages = args->pages,
                            .has_mode = true, .mode = QMP_DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING };
    json_t *none = NULL;

    if (args->ring && args->bitmap)
        return err(ERR_INVALID, "Either dirty ring or dirty bitmap can be specified!");
    if (args->ring || args->bitmap)
        a.mode = args->ring ? QMP_DIRTY_RATE_MEASURE_MODE_DIRTY_RING : QMP_DIRTY_RATE_MEASURE_MODE_DIRTY_BITMAP;
    TRY(qmp_calc_dirty_rate(m, &a, &none));
    g_string_append_printf(out, "Starting dirty rate measurement with period %d seconds\n"
                           "[Please use 'info dirty_rate' to check results]\n", (int)args->second);
    return NULL;
}
