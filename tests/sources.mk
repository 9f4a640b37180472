# SPDX-License-Identifier: MIT
tests += unit/test_err unit/test_log unit/test_opts
tests += unit/test_fpu_host
tests += unit/test_chardev
tests += unit/test_term
