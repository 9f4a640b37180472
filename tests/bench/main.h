/* SPDX-License-Identifier: MIT */
/* The benchmark program proper, called by the code of the place it runs in. */
#ifndef BENCH_MAIN_H
#define BENCH_MAIN_H

#include "tests/bench/bench.h"

void bench_main(const char *orders);

#endif
