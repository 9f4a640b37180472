/* SPDX-License-Identifier: MIT */
/*
 * -drive and -blockdev (system/drive.c), and the ends of devices (system/disks.c),
 * on images in a folder of their own: names and places, stacks of filters,
 * what is refused and what the message says, reads and writes, errors.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "system/disks.h"
#include "system/vm.h"
#include "system/vmconfig.h"
#include "tests/unit/test.h"

typedef struct Rig {
    VmConfig config;
    Vm *vm;
    char *dir, *img;
} Rig;

static void must(Err *e)
{
    if (e)
        printf("unexpected: %s\n", err_text(e));
    CHECK(!e);
    err_free(e);
}

static bool says(Err *e, const char *text)
{
    bool yes = e && (strstr(err_text(e), text) || (err_hint_text(e) && strstr(err_hint_text(e), text)));

    if (!yes)
        printf("it says: %s\n", e ? err_text(e) : "nothing");
    err_free(e);
    return yes;
}

static void rig_make(Rig *r)
{
    *r = (Rig){ .config = { .program = "test" } };
    r->vm = vm_new(&r->config);
    must(disks_new(r->vm, &r->vm->disks));
    r->dir = g_dir_make_tmp("drives-XXXXXX", NULL);
    r->img = g_build_filename(r->dir, "a.img", NULL);
    int fd = open(r->img, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && !ftruncate(fd, 1 << 20));
    close(fd);
}

static void rig_free(Rig *r)
{
    disks_free(r->vm->disks);
    vm_free(r->vm);
    unlink(r->img);
    rmdir(r->dir);
    g_free(r->img);
    g_free(r->dir);
}

static Err *drive(Rig *r, const char *options)
{
    g_autofree char *arg = g_strdup_printf("file=%s,format=raw%s%s", r->img, *options ? "," : "", options);

    return disks_add_drive(r->vm->disks, arg, false);
}

static void test_names(void)
{
    Rig r;

    rig_make(&r);
    Disks *d = r.vm->disks;
    must(drive(&r, ""));
    must(drive(&r, "if=none"));
    must(drive(&r, "if=scsi,index=9"));
    must(drive(&r, "if=scsi,media=cdrom"));
    must(drive(&r, "if=pflash,unit=1,id=vars"));
    must(drive(&r, "index=2"));
    must(drive(&r, ""));
    static const char *const ids[] = { "virtio0", "none0", "scsi1-hd2", "scsi0-cd0", "vars", "virtio2", "virtio1" };
    Drive *dr = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        dr = disks_next(d, dr);
        CHECK(dr && !strcmp(dr->id, ids[i]));
    }
    CHECK(!disks_next(d, dr));
    CHECK(disks_find_unit(d, DRIVE_PFLASH, 1) == disks_find(d, "vars"));
    CHECK(!disks_find_unit(d, DRIVE_PFLASH, 0));
    CHECK(disks_find(d, "scsi0-cd0")->read_only && disks_find(d, "scsi0-cd0")->cdrom);
    CHECK(says(drive(&r, "index=2"), "taken by drive 'virtio2'"));
    CHECK(says(drive(&r, "id=vars"), "already"));
    CHECK(says(drive(&r, "id=9x"), "no id"));
    CHECK(says(drive(&r, "index=1,unit=1"), "cannot be used with"));
    CHECK(says(drive(&r, "if=scsi,unit=7"), "too big"));
    CHECK(says(drive(&r, "index=999999"), "0 to"));
    rig_free(&r);
}

static void test_refused(void)
{
    Rig r;

    rig_make(&r);
    CHECK(says(drive(&r, "serial=1"), "serial=TEXT"));
    CHECK(says(drive(&r, "if=floppydrive"), "no interface"));
    CHECK(says(drive(&r, "cache=fast"), "directsync"));
    CHECK(says(drive(&r, "driver=qcow2"), "the same"));
    CHECK(says(drive(&r, "rerror=enospc"), "never fills"));
    CHECK(says(drive(&r, "werror=maybe"), "werror"));
    CHECK(says(drive(&r, "lazy-refcounts=on"), "lazy-refcounts"));
    CHECK(says(drive(&r, "readonly=on,copy-on-read=on"), "copy-on-read"));
    CHECK(says(drive(&r, "detect-zeroes=unmap"), "discard"));
    CHECK(says(drive(&r, "iops=10,iops_rd=5"), "throttling"));
    CHECK(says(disks_add_drive(r.vm->disks, "file=/nonexistent/a", false), "No such file"));
    CHECK(says(disks_add_blockdev(r.vm->disks, "driver=null-co"), "node-name"));
    CHECK(says(disks_add_blockdev(r.vm->disks, "node-name=a"), "driver"));
    CHECK(says(disks_add_blockdev(r.vm->disks, "{\"driver\":"), "JSON"));
    CHECK(!disks_next(r.vm->disks, NULL));
    rig_free(&r);
}

static void test_port(void)
{
    Rig r;
    DiskPort a = { .name = (char *)"d0" }, b = { .name = (char *)"d0" }, c = { .name = (char *)"d1" };
    uint8_t buf[512], back[512];

    rig_make(&r);
    must(drive(&r, "if=none,id=d0,cache=writethrough,werror=stop,bps=1G,file.locking=off"));
    must(disks_add_blockdev(r.vm->disks, "{\"driver\":\"null-co\",\"node-name\":\"n0\",\"size\":65536,\"read-zeroes\":true}"));
    CHECK(says(disk_port_bind(r.vm, &c, NULL, NULL, false, false), "Did you mean 'd0'"));
    must(disk_port_bind(r.vm, &a, NULL, NULL, false, false));
    CHECK(a.writethrough && a.werror == IO_ERROR_STOP && a.rerror == IO_ERROR_REPORT && disk_port_size(&a) == 1 << 20);
    CHECK(says(disk_port_bind(r.vm, &b, NULL, NULL, false, false), "in use"));
    memset(buf, 0x5a, sizeof(buf));
    CHECK(!disk_port_pwrite(&a, 4096, buf, sizeof(buf)));
    CHECK(!disk_port_pread(&a, 4096, back, sizeof(back)) && !memcmp(buf, back, sizeof(buf)));
    CHECK(disk_port_pread(&a, 1 << 20, back, 1) == -EIO);
    disk_port_drain(&a);
    disk_port_unbind(&a);
    disk_port_unbind(&a);
    must(disk_port_bind(r.vm, &b, NULL, NULL, true, false));
    CHECK(disk_port_pwrite(&b, 0, buf, 512) < 0);
    disk_port_unbind(&b);
    DiskPort n = { .name = (char *)"n0" }, none = { 0 };
    must(disk_port_bind(r.vm, &n, NULL, NULL, false, false));
    CHECK(disk_port_size(&n) == 65536 && !n.writethrough && n.werror == IO_ERROR_ENOSPC);
    disk_port_unbind(&n);
    must(disk_port_bind(r.vm, &none, NULL, NULL, false, true));
    CHECK(disk_port_pread(&none, 0, buf, 1) == -ENOMEDIUM);
    CHECK(says(disk_port_bind(r.vm, &none, NULL, NULL, false, false), "drive="));
    rig_free(&r);
}

static void test_errors(void)
{
    Rig r;
    DiskPort p = { .name = (char *)"d0" };

    rig_make(&r);
    must(drive(&r, "if=none,id=d0"));
    must(disk_port_bind(r.vm, &p, NULL, NULL, false, false));
    CHECK(disk_port_failed(&p, true, EIO) == DISK_ERROR_REPORT);
    CHECK(disk_port_failed(&p, false, EIO) == DISK_ERROR_REPORT && !(r.vm->request & VM_STOP));
    CHECK(disk_port_failed(&p, true, ENOSPC) == DISK_ERROR_STOP && r.vm->request & VM_STOP);
    p.werror = IO_ERROR_IGNORE;
    CHECK(disk_port_failed(&p, true, EIO) == DISK_ERROR_IGNORE);
    disk_port_unbind(&p);
    rig_free(&r);
}

/* -snapshot: the guest writes, the image stays. */
static void test_snapshot(void)
{
    Rig r;
    DiskPort p = { .name = (char *)"virtio0" };
    uint8_t buf[512], back[512];
    g_autofree char *text = NULL;
    gsize len;

    rig_make(&r);
    g_autofree char *arg = g_strdup_printf("format=raw,copy-on-read=on,iops=100000,file=%s", r.img);
    must(disks_add_drive(r.vm->disks, arg, true));
    must(disk_port_bind(r.vm, &p, NULL, NULL, false, false));
    memset(buf, 0x5a, sizeof(buf));
    CHECK(!disk_port_pwrite(&p, 0, buf, sizeof(buf)));
    CHECK(!disk_port_pread(&p, 0, back, sizeof(back)) && !memcmp(buf, back, sizeof(buf)));
    disk_port_unbind(&p);
    CHECK(g_file_get_contents(r.img, &text, &len, NULL) && len == 1 << 20 && !text[0]);
    rig_free(&r);
}

int main(void)
{
    RUN(test_names);
    RUN(test_refused);
    RUN(test_port);
    RUN(test_errors);
    RUN(test_snapshot);
    return test_end();
}
