/* SPDX-License-Identifier: MIT */
/*
 * Switching stacks, and telling the sanitizers. x86-64, System V: what a
 * called function must keep is on the old stack while the new one runs.
 *
 * The control words of SSE and x87 are not switched: nobody changes them in
 * code that yields.
 */
#ifndef UTIL_CO_STACK_H
#define UTIL_CO_STACK_H

#include <stddef.h>

/* Saves this stack's pointer in *save, and goes on where `to` was saved. */
void co_stack_switch(void **save, void *to);
/* A stack whose first switch calls fn(arg), which must not return; `top` is 16-byte aligned. */
void *co_stack_make(void *top, void (*fn)(void *), void *arg);

#if defined __SANITIZE_ADDRESS__
#define CO_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#endif
#if defined __SANITIZE_THREAD__
#define CO_TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define CO_TSAN 1
#endif
#endif

/* One stack as the sanitizers know it: a coroutine's, or the one it was called from. */
typedef struct CoFiber {
    void *fake;                 /* ASan's frames of functions that have not returned */
    const void *bottom;
    size_t size;
    void *tsan;
} CoFiber;

#ifdef CO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
static inline void fiber_leave(CoFiber *from, const CoFiber *to)
{
    __sanitizer_start_switch_fiber(from ? &from->fake : NULL, to->bottom, to->size);
}
/* In the new stack; `from` learns its bounds if it is a thread's. */
static inline void fiber_enter(CoFiber *now, CoFiber *from)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(now->fake, from ? &from->bottom : &bottom, from ? &from->size : &size);
}
static inline void fiber_forget(void *map, size_t size) { __asan_unpoison_memory_region(map, size); }
#else
static inline void fiber_leave(CoFiber *from, const CoFiber *to) { }
static inline void fiber_enter(CoFiber *now, CoFiber *from) { }
static inline void fiber_forget(void *map, size_t size) { }
#endif

#ifdef CO_TSAN
#include <sanitizer/tsan_interface.h>
static inline void *fiber_new(void) { return __tsan_create_fiber(0); }
static inline void *fiber_self(void) { return __tsan_get_current_fiber(); }
static inline void fiber_to(void *tsan) { __tsan_switch_to_fiber(tsan, 0); }
static inline void fiber_free(void *tsan) { __tsan_destroy_fiber(tsan); }
#else
static inline void *fiber_new(void) { return NULL; }
static inline void *fiber_self(void) { return NULL; }
static inline void fiber_to(void *tsan) { }
static inline void fiber_free(void *tsan) { }
#endif

#endif
