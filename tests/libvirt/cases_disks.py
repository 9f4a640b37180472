# SPDX-License-Identifier: MIT
"""Jobs over disks: copies, overlays and their merging, backups. Each looks at the bytes, in the guest and in the files.

Blocks that the guest writes to its disk have numbers, 100 and more here, and begin with a word each.
"""
import json
import os
import time

from domain import NAME, case
from rig import Failed


def job_end(d, what):
    """Until no job is left, by domjobinfo."""
    end = time.monotonic() + 60 * d.t
    while "None" not in d.virsh("domjobinfo", NAME).split("\n")[0]:
        if time.monotonic() > end:
            raise Failed(f"{what}: no end: " + d.virsh("domjobinfo", NAME))
        time.sleep(0.1)


def uses(d, path):
    d.expect("domblklist", d.virsh("domblklist", NAME), f"vda +{path}$")


def overlay(d, name):
    """A snapshot of the disk: what is written from now on is in a file of its own."""
    path = d.path(f"{name}.qcow2")
    d.virsh("snapshot-create-as", NAME, name, "--disk-only", "--atomic", "--no-metadata", "--diskspec", f"vda,file={path}")
    uses(d, path)
    return path


@case("blockcopy-finish")
def blockcopy_finish(d):
    """The disk is copied while the guest runs; the copy holds what it held then, and the guest goes on with the old one."""
    d.write(100, "first")
    copy = d.path("copied.qcow2")
    d.virsh("blockcopy", NAME, "vda", "--dest", copy, "--format", "qcow2", "--transient-job", "--wait", "--finish")
    d.write(100, "second")
    uses(d, d.disk)
    d.expect_block(copy, 100, "first")


@case("blockcopy-pivot")
def blockcopy_pivot(d):
    """The disk is moved: the guest goes on with the copy."""
    d.write(101, "old")
    copy = d.path("moved.qcow2")
    d.virsh("blockcopy", NAME, "vda", "--dest", copy, "--format", "qcow2", "--transient-job", "--wait", "--pivot")
    uses(d, copy)
    d.write(101, "new")
    d.expect_block(d.disk, 101, "old")
    d.expect_block(copy, 101, "new")
    d.disk = copy


@case("snapshot-disk")
def snapshot_disk(d):
    """--disk-only: the old file stands still, and the new one has what the guest wrote later."""
    d.write(102, "before")
    old, new = d.disk, overlay(d, "over1")
    d.write(102, "after")
    d.expect_read(102, "after")
    d.expect_block(old, 102, "before")
    d.expect_block(new, 102, "after")
    d.disk = new


@case("blockcommit")
def blockcommit(d):
    """An overlay is merged down while the guest writes, and it goes on below it."""
    base, top = d.disk, overlay(d, "over2")
    d.write(103, "above")
    d.ask("(while [ ! -e /tmp/stop ]; do dd if=/dev/zero of=/dev/vda bs=4k seek=2000 count=50 conv=notrunc,fsync 2>/dev/null; done) & :")
    d.virsh("blockcommit", NAME, "vda", "--active", "--shallow", "--wait", "--pivot")
    d.ask("touch /tmp/stop")
    uses(d, base)
    d.write(104, "below")
    d.expect_read(103, "above")
    d.expect_block(base, 103, "above")
    d.expect_block(base, 104, "below")
    os.unlink(top)


@case("blockpull")
def blockpull(d):
    """An overlay gets all that is below it, and needs it no more."""
    d.write(105, "deep")
    top = overlay(d, "over3")
    d.virsh("blockpull", NAME, "vda", "--wait")
    d.expect_read(105, "deep")
    said = d.tool("info", "-U", top)
    if "backing file:" in said:
        raise Failed("it still has a backing file: " + said)
    d.write(113, "flushed")             # only what the guest has flushed is sure to be in the file of a running machine
    d.expect_block(top, 105, "deep")
    d.disk = top


def backup(d, text):
    path = d.path("backup.xml")
    with open(path, "w") as f:
        f.write(text)
    return path


PUSH = """<domainbackup mode='push'>{since}<disks>
<disk name='vda' backup='yes' type='file'><driver type='qcow2'/><target file='{file}'/></disk></disks></domainbackup>
"""
PULL = """<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks>
<disk name='vda' backup='yes' type='file' exportname='vda'><driver type='qcow2'/><scratch file='{file}'/></disk></disks></domainbackup>
"""


@case("backup-push")
def backup_push(d):
    """A backup, with a checkpoint, and then one of what has changed since."""
    d.write(106, "full")
    full, part = d.path("full.qcow2"), d.path("part.qcow2")
    check = d.path("check.xml")
    with open(check, "w") as f:
        f.write("<domaincheckpoint><name>c1</name></domaincheckpoint>")
    d.virsh("backup-begin", NAME, backup(d, PUSH.format(since="", file=full)), check)
    job_end(d, "the full backup")
    d.expect_block(full, 106, "full")
    d.expect("checkpoint-list", d.virsh("checkpoint-list", NAME), "c1")
    d.write(200, "later")
    d.virsh("backup-begin", NAME, backup(d, PUSH.format(since="<incremental>c1</incremental>", file=part)))
    job_end(d, "the backup of changes")
    d.expect_block(part, 200, "later")
    alone = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": part}}
    if d.block("json:" + json.dumps(alone), 106) == "full":
        raise Failed("the backup of changes holds what has not changed")
    d.virsh("checkpoint-delete", NAME, "c1")
    os.unlink(part)                     # what it is based on is the machine's disk, which nobody may go back with then


@case("backup-pull")
def backup_pull(d):
    """A backup that somebody fetches by NBD: it shows the disk as it was when it began."""
    d.write(108, "then")
    socket = d.path("nbd.sock")
    d.virsh("backup-begin", NAME, backup(d, PULL.format(socket=socket, file=d.path("scratch.qcow2"))))
    d.write(108, "now")
    d.expect_block(f"nbd+unix:///vda?socket={socket}", 108, "then")
    d.virsh("domjobabort", NAME)
    job_end(d, "the backup")
    d.expect_read(108, "now")
    if os.path.exists(socket):
        raise Failed("the NBD server is still there")


@case("checkpoint")
def checkpoint(d):
    """Checkpoints come, list each other as parents, and go in any order."""
    for name in "p1", "p2":
        d.virsh("checkpoint-create-as", NAME, name)
    d.expect("checkpoint-list", d.virsh("checkpoint-list", NAME, "--parent"), "p2 .* p1")
    d.virsh("checkpoint-delete", NAME, "p1")
    d.virsh("checkpoint-delete", NAME, "p2")
