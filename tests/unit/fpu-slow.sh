#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The random tests of fpu/ with many more operands: about 10^9 comparisons, some minutes.
# FPU_TEST_SCALE says how many times a default run, FPU_TEST_SEED repeats one.

: "${LYRE_BUILD:=build}" "${FPU_TEST_SCALE:=30}"
export FPU_TEST_SCALE
passed=0 failed=0
for t in test_fpu_ref test_fpu_host test_fpu_riscv; do
    "$LYRE_BUILD/tests/unit/$t"
    case $? in
    0) passed=$((passed + 1)) ;;
    77) ;;
    *) failed=$((failed + 1)) ;;
    esac
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
