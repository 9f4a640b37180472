/* SPDX-License-Identifier: MIT */
/*
 * The smallest thing that makes a unit test: a program with a main() that
 * calls RUN(function) for each case and ends with `return test_end();`.
 * A failed CHECK says where and what and goes on; the exit status says the
 * rest. The last line is "N passed, N failed", counted in cases.
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int test_passed, test_failed, test_case_bad;

#define CHECK(cond)                                                     \
    do {                                                                \
        if (!(cond)) {                                                  \
            printf("%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond);    \
            test_case_bad++;                                            \
        }                                                               \
    } while (0)

#define CHECK_EQ(got, want)                                             \
    do {                                                                \
        uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);      \
        if (got_ != want_) {                                            \
            printf("%s:%d: %s is %#" PRIx64 ", want %#" PRIx64 "\n",    \
                   __FILE__, __LINE__, #got, got_, want_);              \
            test_case_bad++;                                            \
        }                                                               \
    } while (0)

#define CHECK_STR(got, want)                                            \
    do {                                                                \
        const char *got_ = (got), *want_ = (want);                      \
        if (!got_ || strcmp(got_, want_)) {                             \
            printf("%s:%d: %s is '%s', want '%s'\n", __FILE__, __LINE__, \
                   #got, got_ ? got_ : "(null)", want_);                \
            test_case_bad++;                                            \
        }                                                               \
    } while (0)

#define RUN(fn)                                                         \
    do {                                                                \
        test_case_bad = 0;                                              \
        fn();                                                           \
        if (test_case_bad) {                                            \
            printf("FAILED %s\n", #fn);                                 \
            test_failed++;                                              \
        } else {                                                        \
            test_passed++;                                              \
        }                                                               \
    } while (0)

/* At file level, in a program that keeps its machine to the end: a leak checker shall not complain. */
#define TEST_KEEPS_MEMORY                                               \
    int __lsan_is_turned_off(void);                                     \
    int __lsan_is_turned_off(void) { return 1; }

static inline int test_end(void)
{
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed != 0;
}

#endif
