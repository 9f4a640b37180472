/* SPDX-License-Identifier: MIT */
/*
 * NICs that -nic and -net make, and the one that a machine has when nobody says
 * anything of networks. They are made before those of -device, so that the first
 * NIC is at the same place however it was asked for.
 */
#include <string.h>

#include "hw/core/board.h"
#include "hw/nic/nic.h"

/* The usual model: on PCI where there is such a bus. NULL: no place for one. */
static const char *usual_model(Vm *vm)
{
    const char *model = NULL;

    for (const Bus *b = machine_of(vm)->buses; b; b = b->next) {
        if (!strcmp(b->cls->name, "pci"))
            return "virtio-net-pci";
        if (!strcmp(b->cls->name, "virtio-bus"))
            model = "virtio-net-device";
    }
    return model;
}

/* "MODEL,prop=value,.."; the model may be missing. */
static Err *nic_make(Vm *vm, const char *nic)
{
    g_autofree char *model = g_strndup(nic, strcspn(nic, ","));
    const char *use = *model && strcmp(model, "virtio") ? model : usual_model(vm);

    if (!use)
        return err_hint(err(ERR_UNSUPPORTED, "machine '%s' has no place for a NIC", machine_of(vm)->board->name),
                        "Say -nic none.");
    g_autofree char *arg = g_strconcat(use, nic + strlen(model), NULL);

    return device_add(vm, arg);
}

Err *nics_make(Vm *vm)
{
    const VmConfig *c = vm->config;

    if (c->default_nic && vm->net && usual_model(vm))
        TRY(err_in(nic_make(vm, c->default_nic), "the usual NIC"));
    for (guint i = 0; c->nics && i < c->nics->len; i++)
        TRY(err_in(nic_make(vm, c->nics->pdata[i]), "-nic"));
    return NULL;
}
