/* SPDX-License-Identifier: MIT */
/*
 * Saved machines that somebody has changed. First byte 0: what follows is the whole form. Else it is changes to the
 * form of a board with every device: two bytes of which field, one of where in it, one of how many bytes, the bytes.
 * What can be loaded runs on, stands, and is saved again.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#include "accel/run.h"
#include "system/state.h"
#include "tests/dev/full-rig.h"
#include "tests/dev/saved-devices.h"

enum { FIELDS_MOST = 65536, CHANGES = 32 };

/* A machine that lives for ever has threads that the leak checker doesn't look into. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

typedef struct At { uint32_t at, len; } At;
static GByteArray *good;
static GArray *fields;          /* of At: the data of each field that has some */

static uint32_t number(const uint8_t *p, unsigned bytes)
{
    uint32_t v = 0;

    memcpy(&v, p, bytes);
    return v;
}

static void find_fields(void)
{
    const uint8_t *base = good->data, *p = base;

    fields = g_array_new(false, false, sizeof(At));
    while (p < base + good->len) {
        p += 2 + number(p, 2) + 4;
        const uint8_t *stop = p + 4 + number(p, 4);
        for (p += 4; p < stop;) {
            p += 1 + *p;
            const At a = { (uint32_t)(p + 5 - base), *p * number(p + 1, 4) };

            if (a.len)
                g_array_append_val(fields, a);
            p += 5 + a.len;
        }
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_hide();
    more_devices = saved_devices + 1;
    begin(saved_devices[0]);
    vcpus_saved(r->vm);
    vm_stop(r->vm, RUN_PAUSED);
    good = state_gather(r->vm);
    find_fields();
    return 0;
}

static void change(GByteArray *a, const uint8_t *data, size_t size)
{
    for (int i = 0; i < CHANGES && size > 4; i++) {
        const At *f = &g_array_index(fields, At, number(data, 2) % fields->len);
        uint32_t at = data[2] % f->len, n = MIN(MIN(data[3] % 16 + 1u, f->len - at), size - 4);

        memcpy(a->data + f->at + at, data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
}

static void reset_machine(void)
{
    r->vm->loading = true;
    vm_reset(r->vm);
    r->vm->loading = false;
    r->vm->request = 0;
}

static void try_form(const uint8_t *data, size_t size)
{
    Err *e = state_check(r->vm, data, size);

    if (!e) {
        reset_machine();
        e = state_apply(r->vm, data, size);
    }
    if (!e) {
        vm_start(r->vm);
        settle();
        vm_stop(r->vm, RUN_PAUSED);
        g_byte_array_unref(state_gather(r->vm));
    }
    fuzz_error(e);
    reset_machine();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (!data[0]) {
        g_autofree uint8_t *copy = g_memdup2(data + 1, size - 1);

        try_form(copy, size - 1);
        return 0;
    }
    GByteArray *a = g_byte_array_new();
    g_byte_array_append(a, good->data, good->len);
    change(a, data + 1, size - 1);
    try_form(a->data, a->len);
    g_byte_array_unref(a);
    return 0;
}
