#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`lyre run --explain` on images of all kinds, made by other programs: what it
takes them for, and that broken ones end in words. mkfs.vfat, mtools, sfdisk and
xorriso make them; without those there is nothing to look at."""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback

BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", "build"))
LYRE, IMG = os.path.join(BUILD, "lyre"), os.path.join(BUILD, "lyre-img")
NEED = ("mkfs.vfat", "mcopy", "mmd", "sfdisk", "xorriso")
LOADERS = {"riscv64": "BOOTRISCV64.EFI", "aarch64": "BOOTAA64.EFI", "x86_64": "BOOTX64.EFI"}
MIB = 1 << 20
os.environ["PATH"] += ":/usr/sbin:/sbin"


def sh(*args, **kw):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)


def explain(path, *args):
    """Its text; the status is 0 or 1, whatever the image is like."""
    r = subprocess.run([LYRE, "run", "--explain", "--firmware", "/fw", *args, path], capture_output=True, text=True, timeout=20,
                       stdin=subprocess.DEVNULL)
    assert r.returncode in (0, 1), f"{path}: status {r.returncode}\n{r.stderr}"
    assert bool(r.stderr) == (r.returncode == 1) or "note" in r.stderr, r.stderr
    return r.stdout + r.stderr


def fat(path, size, loader, bits):
    with open(path, "wb") as f:
        f.truncate(size)
    sh("mkfs.vfat", "-F", str(bits), path)
    sh("mmd", "-i", path, "::/A folder with a long name", "::/efi", "::/efi/other", "::/efi/boot")
    with open(path + ".efi", "wb") as f:
        f.write(b"MZ" + bytes(3000))
    for n in range(20):
        sh("mcopy", "-i", path, path + ".efi", f"::/efi/boot/some other file {n}.txt")
    sh("mcopy", "-i", path, path + ".efi", f"::/efi/boot/{loader}")


def partitioned(path, esp, label, kind):
    size = os.path.getsize(esp)
    with open(path, "wb") as f:
        f.truncate(size + 4 * MIB)
    sh("sfdisk", "-q", path, input=f"label: {label}\nstart=2048, size={size // 512}, type={kind}\n".encode())
    with open(path, "r+b") as f, open(esp, "rb") as e:
        f.seek(MIB)
        shutil.copyfileobj(e, f)


def disks(folder):
    for bits, size in (12, 2 * MIB), (16, 16 * MIB), (32, 64 * MIB):
        for isa, loader in LOADERS.items():
            if bits != 16 and isa != "riscv64":
                continue
            esp, disk = os.path.join(folder, f"esp{bits}"), os.path.join(folder, f"disk{bits}")
            fat(esp, size, loader.lower() if bits == 12 else loader, bits)
            for label, kind in ("gpt", "uefi"), ("dos", "ef"):
                partitioned(disk, esp, label, kind)
                check_isa(explain(disk), isa, disk)
            check_isa(explain(esp), isa, esp)
    sh(IMG, "convert", "-f", "raw", "-O", "qcow2", os.path.join(folder, "disk32"), os.path.join(folder, "disk.qcow2"))
    text = explain(os.path.join(folder, "disk.qcow2"))
    check_isa(text, "riscv64", "qcow2")
    assert "format=qcow2" in text, text


def check_isa(text, isa, what):
    if isa == "riscv64":
        assert "lyre-system-riscv64" in text and "virtio-blk-pci" in text or "scsi-cd" in text, f"{what}: {text}"
    else:
        assert f"is for {isa}" in text, f"{what}: {text}"


def roots(folder):
    """A partition's type alone tells."""
    path = os.path.join(folder, "root")
    for kind, isa in ("72EC70A6-CF74-40E6-BD49-4BDA08E8F224", "riscv64"), ("B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "aarch64"), \
                     ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "x86_64"):
        with open(path, "wb") as f:
            f.truncate(8 * MIB)
        sh("sfdisk", "-q", path, input=f"label: gpt\ntype={kind}\n".encode())
        check_isa(explain(path), isa, kind)
    sh("sfdisk", "-q", path, input=b"label: gpt\ntype=linux\n")
    assert "does not say what kind" in explain(path)
    assert "lyre-system-riscv64" in explain(path, "--isa", "riscv64")


def isos(folder):
    tree, iso, esp = (os.path.join(folder, n) for n in ("tree", "iso", "iso-esp"))
    os.makedirs(os.path.join(tree, "EFI", "BOOT"))
    for name in "BOOTRISCV64.EFI", "README.TXT":
        shutil.copy(os.path.join(folder, "esp16.efi"), os.path.join(tree, "EFI", "BOOT", name))
    sh("xorriso", "-as", "mkisofs", "-o", iso, "-R", "-J", tree)
    check_isa(explain(iso), "riscv64", iso)
    shutil.rmtree(os.path.join(tree, "EFI"))
    fat(esp, 2 * MIB, LOADERS["riscv64"], 12)
    shutil.copy(esp, os.path.join(tree, "efi.img"))
    sh("xorriso", "-as", "mkisofs", "-o", iso, "-R", "-e", "efi.img", "-no-emul-boot", tree)
    text = explain(iso)
    check_isa(text, "riscv64", "El Torito")
    assert "media=cdrom" in text, text


def kernels(folder):
    path = os.path.join(folder, "kernel")
    for head, isa in (b"MZ".ljust(56, b"\0") + b"RSC\x05", "riscv64"), (b"MZ".ljust(56, b"\0") + b"ARM\x64", "aarch64"), \
                     (bytes(0x202) + b"HdrS", "x86_64"), (b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\xf3\0" + bytes(44), "riscv64"):
        with open(path, "wb") as f:
            f.write(head.ljust(4096, b"\0"))
        text = explain(path)
        assert "-kernel" in text if isa == "riscv64" else f"is for {isa}" in text, text


def wrong(folder):
    assert "No such file" in explain(os.path.join(folder, "nothing"))
    assert "cannot" in explain(folder) or "irectory" in explain(folder)
    empty = os.path.join(folder, "empty")
    open(empty, "wb").close()
    assert "does not say" in explain(empty)


def broken(folder):
    """Bytes of the structures changed at random."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for name, places in ("disk12", [(0, 2048), (MIB, 40000)]), ("disk32", [(0, 34 * 512), (MIB, 20000)]), ("iso", [(16 * 2048, 60000)]):
        with open(os.path.join(folder, name), "rb") as f:
            whole = f.read(3 * MIB)
        path = os.path.join(folder, "broken")
        for _ in range(25):
            image = bytearray(whole)
            for _ in range(rng.choice([1, 5, 200])):
                start, length = rng.choice(places)
                image[start + rng.randrange(length)] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
            with open(path, "wb") as f:
                f.write(image[:rng.choice([len(image), rng.randrange(len(image))])])
            explain(path)


def main():
    missing = [n for n in NEED if not shutil.which(n)]
    if missing:
        print(f"not here: {', '.join(missing)} (apt install dosfstools mtools fdisk xorriso)")
        return 77
    passed = failed = 0
    folder = tempfile.mkdtemp(prefix="lyre-run-")
    try:
        for test in disks, roots, isos, kernels, wrong, broken:
            try:
                test(folder)
                passed += 1
            except (AssertionError, subprocess.SubprocessError) as e:
                traceback.print_exc(file=sys.stdout)
                print(f"FAILED {test.__name__}: {e} {getattr(e, 'stderr', b'')}")
                failed += 1
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
