# SPDX-License-Identifier: MIT
check-scripts += tests/boot/test_boot_test.py
check-slow-scripts += tests/boot/lockstep.sh tests/boot/disks-test
check-slow-scripts += tests/boot/lockstep.sh tests/boot/aia.sh
check-slow-scripts += tests/boot/hotplug-test
check-slow-scripts += tests/boot/snapshot-test
