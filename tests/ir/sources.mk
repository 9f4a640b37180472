# SPDX-License-Identifier: MIT
tests += ir/run unit/test_ir
tests += unit/test_lockstep unit/test_dump
