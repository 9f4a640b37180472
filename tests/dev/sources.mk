# SPDX-License-Identifier: MIT
# Devices, poked without a CPU.
tests += dev/test_aclint dev/test_plic dev/test_serial
