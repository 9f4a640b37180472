# SPDX-License-Identifier: MIT
src += hw/pci/bars.c hw/pci/bus.c hw/pci/config.c hw/pci/express.c hw/pci/host.c hw/pci/intx.c hw/pci/msi.c hw/pci/msix.c
