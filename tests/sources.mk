# SPDX-License-Identifier: MIT
tests += unit/test_err
