# SPDX-License-Identifier: MIT
check-slow-scripts += tests/libvirt/libvirt-test
