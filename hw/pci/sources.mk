# SPDX-License-Identifier: MIT
src += hw/pci/bars.c hw/pci/bridge.c hw/pci/bus.c hw/pci/config.c hw/pci/express.c hw/pci/host.c hw/pci/intx.c hw/pci/msi.c hw/pci/msix.c hw/pci/port.c
src += hw/pci/slot.c
src += hw/pci/saved.c
