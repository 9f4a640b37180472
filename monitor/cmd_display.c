/* SPDX-License-Identifier: MIT */
/*
 * Displays, keyboards and mice: there are none, and these are the answers that
 * such a machine gives. What is asked is checked nevertheless.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/monitor-priv.h"

/* ---- input */

Err *qmp_send_key(Monitor *m, const SendKeyArgs *args, json_t **ret)
{
    return NULL;                        /* nobody listens */
}

Err *qmp_input_send_event(Monitor *m, const InputSendEventArgs *args, json_t **ret)
{
    json_t *e;
    size_t i;

    if (args->device)
        return no_device(args->device);
    if (m->vm->state != RUN_RUNNING)
        return err(ERR_BUSY, "VM not running");
    json_array_foreach(args->events, i, e)
        return err(ERR_UNSUPPORTED, "Input handler not found for event type %s", json_string_value(json_object_get(e, "type")));
    return NULL;
}

/* A name of the table, or a scan code. */
static bool is_key(const char *name)
{
    char *end;

    if (qmp_enum(qmp_QKeyCode_names, name) >= 0)
        return true;
    return g_str_has_prefix(name, "0x") && (strtoul(name, &end, 16), !*end);
}

Err *hmp_sendkey(Monitor *m, const HmpSendkeyArgs *args, GString *out)
{
    g_auto(GStrv) keys = g_strsplit(args->keys, "-", -1);

    for (char **k = keys; *k; k++) {
        const char *name = !strcmp(*k, "<") ? "less" : *k;

        if (is_key(name))
            continue;
        const char *near = nearest_name(name, qmp_QKeyCode_names);
        Err *e = err(ERR_INVALID, "invalid parameter: %s", name);
        return near ? err_hint(e, "Did you mean '%s'?", near) : e;
    }
    return NULL;
}

Err *qmp_query_mice(Monitor *m, const QueryMiceArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *hmp_mouse_move(Monitor *m, const HmpMouseMoveArgs *args, GString *out)
{
    return NULL;
}

Err *hmp_mouse_button(Monitor *m, const HmpMouseButtonArgs *args, GString *out)
{
    return NULL;
}

Err *hmp_mouse_set(Monitor *m, const HmpMouseSetArgs *args, GString *out)
{
    return err(ERR_NOT_FOUND, "Mouse at index '%d' not found", (int)args->index);
}

/* ---- pictures */

Err *qmp_screendump(Monitor *m, const ScreendumpArgs *args, json_t **ret)
{
    if (args->device)
        return no_device(args->device);
    if (args->has_head)
        return err(ERR_INVALID, "'head' must be specified together with 'device'");
    return err_hint(err(ERR_UNSUPPORTED, "There is no console to take a screendump from"), "The guest's text is at its serial port.");
}

Err *qmp_query_display_options(Monitor *m, const QueryDisplayOptionsArgs *args, json_t **ret)
{
    *ret = json_pack("{s:s}", "type", "none");
    return NULL;
}

Err *qmp_query_vnc(Monitor *m, const QueryVncArgs *args, json_t **ret)
{
    *ret = json_pack("{s:b}", "enabled", 0);
    return NULL;
}

Err *qmp_query_vnc_servers(Monitor *m, const QueryVncServersArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

/* ---- passwords and clients */

static Err *no_spice(void)
{
    return err(ERR_NOT_ACTIVE, "SPICE is not in use");
}

static bool is_spice(const json_t *args)
{
    return !g_strcmp0(json_string_value(json_object_get(args, "protocol")), "spice");
}

Err *qmp_set_password(Monitor *m, const SetPasswordArgs *args, json_t **ret)
{
    const char *connected = json_string_value(json_object_get(args->all, "connected"));

    if (is_spice(args->all))
        return no_spice();
    if (connected && strcmp(connected, "keep"))
        return err(ERR_INVALID, "parameter 'connected' must be 'keep' when 'protocol' is 'vnc'");
    return err(ERR_UNSUPPORTED, "Could not set password");
}

Err *qmp_expire_password(Monitor *m, const ExpirePasswordArgs *args, json_t **ret)
{
    return is_spice(args->all) ? no_spice() : err(ERR_UNSUPPORTED, "Could not set password expire time");
}

Err *qmp_change_vnc_password(Monitor *m, const ChangeVncPasswordArgs *args, json_t **ret)
{
    return err(ERR_UNSUPPORTED, "Could not set password");
}

Err *hmp_set_password(Monitor *m, const HmpSetPasswordArgs *args, GString *out)
{
    json_t *a = json_pack("{s:s, s:o}", "protocol", args->protocol, "password", text_json(args->password));

    if (args->connected)
        json_object_set_new(a, "connected", text_json(args->connected));
    return qmp_pass(m, "set_password", a);
}

Err *hmp_expire_password(Monitor *m, const HmpExpirePasswordArgs *args, GString *out)
{
    return qmp_pass(m, "expire_password", json_pack("{s:s, s:o}", "protocol", args->protocol, "time", text_json(args->time)));
}

Err *qmp_add_client(Monitor *m, const AddClientArgs *args, json_t **ret)
{
    int fd = -1;

    TRY(monitor_take_fd(m, args->fdname, &fd));
    close(fd);
    if (!strcmp(args->protocol, "spice"))
        return no_spice();
    if (!strcmp(args->protocol, "vnc"))
        return err(ERR_UNSUPPORTED, "this feature or command is not currently supported");
    return err(ERR_INVALID, "protocol '%s' is invalid", args->protocol);
}

Err *qmp_client_migrate_info(Monitor *m, const ClientMigrateInfoArgs *args, json_t **ret)
{
    return strcmp(args->protocol, "spice") ? err(ERR_INVALID, "Parameter 'protocol' expects 'spice'") : no_spice();
}

/* ---- pages about what there is not */

Err *hmp_info_usb(Monitor *m, const HmpInfoUsbArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "USB support not enabled");
}

Err *hmp_info_usbhost(Monitor *m, const HmpInfoUsbhostArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "USB support not enabled");
}

Err *hmp_info_tpm(Monitor *m, const HmpInfoTpmArgs *args, GString *out)
{
    return NULL;
}

Err *hmp_info_spice(Monitor *m, const HmpInfoSpiceArgs *args, GString *out)
{
    g_string_append(out, "Server: disabled\n");
    return NULL;
}

Err *hmp_info_capture(Monitor *m, const HmpInfoCaptureArgs *args, GString *out)
{
    return NULL;
}

Err *hmp_stopcapture(Monitor *m, const HmpStopcaptureArgs *args, GString *out)
{
    return err(ERR_NOT_FOUND, "no sound is recorded: there is no capture %d", (int)args->index);
}

Err *hmp_wavcapture(Monitor *m, const HmpWavcaptureArgs *args, GString *out)
{
    return err(ERR_NOT_FOUND, "Audiodev '%s' not found", args->audiodev);
}
