#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Linux on machines with the Advanced Interrupt Architecture: APLIC alone, APLIC and
# IMSICs, and both with ACLINT, booted, used and rebooted. About a minute.
MACHINES="virt,aia=aplic virt,aia=aplic-imsic virt,aia=aplic,aclint=on virt,aia=aplic-imsic,aclint=on"
exec "$LYRE_SRC/tests/boot/boot-test" shell reboot --smp 1,4 --patience 4 $(printf ' --machine %s' $MACHINES)
