#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lyre-nbd with others as peers: nbdinfo, nbdcopy, qemu-img, qemu-io and
qemu-nbd as its clients; qemu-nbd and nbdkit as servers of its driver, seen
through a lyre-nbd that serves what it reads there. nbd_tls.py has TLS."""
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtool import *       # noqa: E402,F403

need("nbdinfo", "nbdcopy", "nbdkit", "qemu-nbd", "qemu-img", "qemu-io")
MIB = 1 << 20


def info(server, export=""):
    return json.loads(ok("nbdinfo", "--json", server.uri(export)))["exports"][0]


# ---- as a server

def info_like_qemu():
    path = image(MIB)
    for args in (["-f", "raw"], ["-f", "raw", "-r"], ["-f", "raw", "-A", "-e", "0"],
                 ["-f", "raw", "-x", "exp", "-D", "some words"], ["-f", "raw", "-e", "5", "-r"]):
        name = "exp" if "-x" in args else ""
        with lyre("-t", *args, path) as a:
            mine = info(a, name)
        with qemu("-t", *args, path) as b:
            theirs = info(b, name)
        for each in mine, theirs:
            del each["uri"]
            each.pop("content", None)       # what file(1) sees in it, where that is installed
        assert mine == theirs, f"{args}: {mine} != {theirs}"


def list_like_qemu():
    path = image(MIB)
    for args in (["-A"], ["-r", "-x", "b", "-D", "the text"]):
        with lyre("-t", "-f", "raw", *args, path) as s:
            a, b = ok("qemu-nbd", "-L", "-k", s.sock), ok(LYRE, "-L", "-k", s.sock)
            wide = re.sub(r"  transaction size: 64-bit\n", "", b)
            wide = re.sub(r"flags: 0x1(\w+) \((.*) block-status-payload \)", r"flags: 0x\1 (\2 )", wide)
            assert a == wide, a + b
        with qemu("-t", "-f", "raw", *args, path) as s:
            a, b = ok("qemu-nbd", "-L", "-k", s.sock), ok(LYRE, "-L", "-k", s.sock)
            assert a == b, a + b
    with nbdkit("-e", "x", "memory", "1M") as s:
        a, b = ok("qemu-nbd", "-L", "-k", s.sock), ok(LYRE, "--list", f"--socket={s.sock}")
        assert a == b, a + b


def copy_round_trip():
    path, back = image(20 * MIB), fresh()
    target = image(20 * MIB, holes=False, seed=5)
    with lyre("-e", "0", "-t", "-f", "raw", target) as s:
        ok("nbdcopy", "-C", "4", path, s.uri())
        ok("nbdcopy", "-C", "4", s.uri(), back)
    assert same(path, back) and same(path, target)


def copy_between_servers():
    path, other = image(8 * MIB), fresh()
    ok("qemu-img", "create", "-q", "-f", "raw", other, "8M")
    with lyre("-e", "0", "-t", "-f", "raw", path) as a, lyre("-e", "0", "-t", "--discard=unmap", "-f", "raw", other) as b:
        ok("nbdcopy", "--flush", a.uri(), b.uri())
        assert "identical" in ok("qemu-img", "compare", "-f", "raw", "-F", "raw", a.uri(), b.uri())
    assert same(path, other)
    used = [os.stat(p).st_blocks for p in (path, other)]
    assert used[1] <= used[0] + 64, used


def map_like_qemu():
    path = image(4 * MIB)
    with lyre("-e", "0", "-t", "-f", "raw", path) as a:
        mine = ok("nbdinfo", "--map", a.uri())
        img = ok("qemu-img", "map", "-f", "raw", "--output=json", a.uri())
    with qemu("-e", "0", "-t", "-f", "raw", path) as b:
        assert mine == ok("nbdinfo", "--map", b.uri())
        assert img == ok("qemu-img", "map", "-f", "raw", "--output=json", b.uri())
    assert "hole,zero" in mine, mine


def images_like_qemu():
    """The driver in the other tools: the same words, and the same bytes."""
    path, img = image(4 * MIB), os.path.join(os.path.dirname(LYRE), "lyre-img")
    if not os.path.exists(img):
        raise Skip("there is no lyre-img")
    with qemu("-e", "0", "-t", "-f", "raw", "-x", "an export", path) as s:
        for args in (["info"], ["info", "--output=json"], ["map", "--output=json"], ["compare"]):
            names = [s.uri("an%20export")] + ([path] if args == ["compare"] else [])
            mine, theirs = ok(img, *args, *names), ok("qemu-img", *args, *names)
            assert mine.replace("an%20export", "an export") == theirs, mine + theirs
        out = fresh(".qcow2")
        ok(img, "convert", "-O", "qcow2", s.uri("an%20export"), out)
        assert "identical" in ok("qemu-img", "compare", "-F", "raw", out, path)
        # and back, into the same server
        ok(img, "convert", "-n", "-O", "raw", out, s.uri("an%20export"))
    assert "identical" in ok("qemu-img", "compare", "-F", "raw", out, path)


def qemu_io_works():
    path = image(8 * MIB, holes=False)
    with lyre("-t", "--discard=unmap", "-f", "raw", path) as s:
        out = ok("qemu-io", "-f", "raw", "-c", "write -P 0x11 1000 5000", "-c", "write -z 1M 64k", "-c", "discard 2M 64k",
                 "-c", "aio_write -P 0x22 3M 200k", "-c", "aio_write -P 0x33 4M 1M", "-c", "aio_flush", "-c", "flush",
                 "-c", "read -P 0x11 1000 5000", "-c", "read -P 0 1M 64k", "-c", "read -P 0x22 3M 200k",
                 "-c", "read -P 0x33 4M 1M", "-c", "write -f -P 0x44 5M 512", "-c", "read -P 0x44 5M 512", s.uri())
        assert "fail" not in out.lower(), out
        # beyond the end: refused, and the connection lives on
        out = run("qemu-io", "-f", "raw", "-c", "write 8388000 1000", "-c", "read -P 0x44 5M 512", s.uri())
        assert "fail" not in out[1].split("\n")[-3].lower(), out
    with open(path, "rb") as f:
        f.seek(1000)
        assert f.read(5000) == b"\x11" * 5000
        f.seek(2 * MIB)
        assert f.read(65536) == bytes(65536)


def parallel_clients():
    path = image(16 * MIB)
    with lyre("-e", "0", "-t", "-f", "raw", path) as s:
        outs = [fresh() for _ in range(4)]
        ps = [subprocess.Popen(["nbdcopy", s.uri(), o]) for o in outs]
        assert all(p.wait(60) == 0 for p in ps)
        assert all(same(path, o) for o in outs)


def shared_limit():
    """-e 1: a second client waits until the first has left."""
    path = image(MIB)
    with lyre("-t", "-f", "raw", path) as s:
        first = subprocess.Popen(["qemu-io", "-f", "raw", s.uri()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first.stdin.write(b"read 0 512\n")
        first.stdin.flush()
        assert b"512" in first.stdout.readline() + first.stdout.readline()
        second = subprocess.Popen(["nbdinfo", "--size", s.uri()], stdout=subprocess.PIPE)
        time.sleep(0.2)
        assert second.poll() is None
        first.communicate(b"quit\n", timeout=60)
        assert second.communicate(timeout=60)[0] == b"1048576\n"


def windows():
    path, out = image(MIB), fresh()
    with lyre("-t", "-f", "raw", "-o", "65536", path) as s:
        assert ok("nbdinfo", "--size", s.uri()) == f"{MIB - 65536}\n"
        ok("nbdcopy", s.uri(), out)
    with open(path, "rb") as f, open(out, "rb") as g:
        f.seek(65536)
        assert f.read() == g.read()
    opts = f"driver=raw,offset=128k,size=256k,file.driver=file,file.filename={path}"
    with lyre("-t", "-r", "--image-opts", opts) as s:
        assert ok("nbdinfo", "--size", s.uri()) == "262144\n"
        fails("", "qemu-io", "-f", "raw", "-c", "write 0 512", s.uri())


def contexts():
    """Bitmaps and depths of a qcow2 file with a backing file, as qemu-nbd shows them."""
    base, top = fresh(".qcow2"), fresh(".qcow2")
    ok("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
    ok("qemu-io", "-f", "qcow2", "-c", "write 0 1M", base)
    ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    for name, grain in ("b0", "65536"), ("b1", "4096"):
        ok("qemu-img", "bitmap", "--add", "-g", grain, top, name)
    ok("qemu-io", "-f", "qcow2", "-c", "write 512k 64k", "-c", "write 2M 5000", "-c", "write -z 3M 64k", top)
    args = ["-t", "-e", "0", "-r", "-A", "-B", "b0", "-B", "b1", "-f", "qcow2", top]
    names = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0", "qemu:dirty-bitmap:b1"]

    def told(server):
        listed = [l.strip() for l in ok("qemu-nbd", "-L", "-k", server.sock).split("\n")[-5:-1]]
        assert sorted(listed) == names, listed
        through = ok("qemu-img", "map", "--output=json", "--image-opts",
                     f"driver=nbd,server.type=unix,server.path={server.sock},x-dirty-bitmap=qemu:dirty-bitmap:b0")
        return [ok("nbdinfo", f"--map={n}", server.uri()) for n in names] + [through]

    with lyre(*args) as s:
        mine = told(s)
    with qemu(*args) as s:
        assert mine == told(s), mine
    # Written to through a server, and looked at again.
    with lyre("-t", "-e", "0", "-B", "b0", "-f", "qcow2", top) as s:
        ok("qemu-io", "-f", "raw", "-c", "write 1M 1k", s.uri())
        assert "1048576       65536    1  dirty" in ok("nbdinfo", "--map=qemu:dirty-bitmap:b0", s.uri())
    assert "1048576       65536    1  dirty" not in mine[2]
    with qemu("-t", "-e", "0", "-r", "-B", "b0", "-f", "qcow2", top) as s:
        assert "1048576       65536    1  dirty" in ok("nbdinfo", "--map=qemu:dirty-bitmap:b0", s.uri())
    ok("qemu-img", "check", "-q", top)


def overlays():
    path = fresh(".qcow2")
    ok("qemu-img", "create", "-q", "-f", "qcow2", path, "2M")
    ok("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", path)
    with open(path, "rb") as f:
        before = f.read()
    with lyre("-t", "-s", "-f", "qcow2", path, env=dict(os.environ, TMPDIR=DIR)) as s:
        ok("qemu-io", "-f", "raw", "-c", "write -P 2 512k 1M", "-c", "read -P 1 0 512k", "-c", "read -P 2 512k 1M", s.uri())
        assert not [n for n in os.listdir(DIR) if n.startswith("lyre-nbd-")]
    with open(path, "rb") as f:
        assert before == f.read()
    ok("qemu-img", "snapshot", "-c", "first", path)
    ok("qemu-io", "-f", "qcow2", "-c", "write -P 3 0 1M", path)
    for name in "first", "1", "snapshot.name=first", "snapshot.id=1":
        with lyre("-t", "-l", name, "-f", "qcow2", path) as s:
            ok("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 1M", s.uri())
            fails("", "qemu-io", "-f", "raw", "-c", "write 0 512", s.uri())
    fails("Failed to load snapshot", LYRE, "-k", fresh(), "-l", "none", "-f", "qcow2", path)


def tcp():
    path = image(MIB)
    port = "10000"
    for port in map(str, range(21000, 21100)):
        s = subprocess.Popen([LYRE, "-t", "-e", "0", "-b", "127.0.0.1", "-p", port, "-f", "raw", path],
                             stderr=subprocess.PIPE)
        time.sleep(0.1)
        if s.poll() is None:
            break
        assert b"in use" in s.stderr.read(), "no port"
    RUNNING.append(s)
    wait_for(lambda: run("nbdinfo", "--size", f"nbd://127.0.0.1:{port}")[0] == 0, "the server")
    assert ok("qemu-img", "info", f"nbd:127.0.0.1:{port}").count("1048576") == 1
    assert ok(LYRE, "-L", "-b", "127.0.0.1", "-p", port).startswith("exports available: 1\n")
    s.stderr.close()
    s.terminate()
    assert s.wait(60) == 0


# ---- the process

def ends_with_its_client():
    path = image(MIB)
    s = lyre("-f", "raw", path)
    ok("qemu-nbd", "-L", "-k", s.sock)          # does not count: no export was chosen
    assert s.p.poll() is None
    ok("nbdinfo", "--size", s.uri())
    assert s.stop() == 0 and not os.path.exists(s.sock)
    s = lyre("-t", "-f", "raw", path)
    ok("nbdinfo", "--size", s.uri())
    ok("nbdinfo", "--size", s.uri())
    assert s.p.poll() is None
    assert s.stop(signal.SIGINT) == 0 and not os.path.exists(s.sock)


def stop_with_clients():
    path = image(64 * MIB, holes=False)
    with open(path, "r+b") as f:
        f.truncate(1 << 30)
    s = lyre("-t", "-e", "0", "-f", "raw", path)
    ps = [subprocess.Popen(["nbdcopy", "--destination-is-zero", s.uri(), "null:"], stderr=subprocess.DEVNULL) for _ in range(3)]
    time.sleep(0.1)
    assert s.stop() == 0
    for p in ps:
        p.wait(60)


def forks():
    path, sock, pid = image(MIB), fresh(".sock"), fresh(".pid")
    ok(LYRE, "--fork", "-t", "-k", sock, "--pid-file", pid, "-f", "raw", path)
    # It is there now, with no waiting.
    assert ok("nbdinfo", "--size", f"nbd+unix:///?socket={sock}") == "1048576\n"
    with open(pid, encoding="ascii") as f:
        number = int(f.read())
    fails("listens on it", LYRE, "--fork", "-t", "-k", sock, "-f", "raw", "-r", path)
    fails("pid file of a process that runs", LYRE, "-t", "-k", fresh(".sock"), "--pid-file", pid, "-f", "raw", "-r", path)
    os.kill(number, signal.SIGTERM)
    wait_for(lambda: not os.path.exists(pid) and not os.path.exists(sock), "the end")
    status, _, errs = run(LYRE, "--fork", "-k", sock, at("nothing"))
    assert status == 1 and "nothing" in errs, errs


def activation():
    path, sock = image(MIB), fresh(".sock")
    code = ("import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); os.dup2(s.fileno(),3);"
            "os.set_inheritable(3,True); os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()));"
            "os.execv(sys.argv[2],sys.argv[2:])")
    with Server(sys.executable, "-c", code, "SOCK", LYRE, "-t", "-f", "raw", path, sock=sock) as s:
        assert ok("nbdinfo", "--size", s.uri()) == "1048576\n"
    fails("LISTEN_FDS", sys.executable, "-c", code, fresh(".sock"), LYRE, "-k", sock, "-f", "raw", path)


def wrong_lines():
    path = image(MIB)
    for words, *args in (
            ("Invalid number of arguments",), ("Invalid number of arguments", "a", "b"),
            ("No such file or directory", "-f", "raw", at("nofile")),
            ("Invalid shared device number '-1'", "-e", "-1", path), ("Invalid shared device number 'x'", "-e", "x", path),
            ("Invalid offset 'foo'", "-o", "foo", path), ("Invalid port '99999'", "-p", "99999", path),
            ("Unknown driver 'nope'", "-f", "nope", path), ("has to be smaller", "-f", "raw", "-o", "1G", path),
            ("-n and --cache can only be specified once", "-n", "--cache=none", path),
            ("Invalid cache mode", "--cache=bla", path), ("Invalid discard mode", "--discard=bla", path),
            ("Invalid aio mode", "--aio=bla", path), ("setting detect-zeroes to unmap", "--detect-zeroes=unmap", path),
            ("--image-opts and -f are mutually exclusive", "--image-opts", "-f", "raw", path),
            ("List mode is incompatible with a file name", "-L", path),
            ("List mode is incompatible with per-device settings", "-L", "-x", "a"),
            ("No such file or directory", "-L", "-k", at("nosocket")),
            ("Did you mean '--persistent'", "--persistant", path), ("no option '-Q'", "-Q", path),
            ("needs an argument", path, "-k"), ("--tls-authz", "--tls-creds", "a", "--tls-authz", "b", path),
            ("not permitted without --tls-creds", "--tls-hostname", "x", path), ("chcon", "--selinux-label", "x", path),
            ("tls0", "--tls-creds", "tls0", "-k", fresh(), "-f", "raw", path),
            ("Bitmap 'nobm' is not found", "-k", fresh(), "-B", "nobm", "-f", "raw", path),
            ("exclude each other", "-k", "x", "-p", "10", path), ("/nope/pid", "-k", fresh(), "--pid-file", "/nope/pid", "-f", "raw", path),
            ("/dev/lyre-none", "-d", "/dev/lyre-none"), ("/dev/nbdN", "-d", path), ("/dev/nbdN", "-c", path, "-f", "raw", path), ("/dev/lyre-none", "-c", "/dev/lyre-none", "-f", "raw", path),
            ("no socket", "-k", path, "-f", "raw", path), ("too long", "-k", "/tmp/" + "x" * 200, "-f", "raw", path)):
        errs = fails(words, LYRE, *args, timeout=60)
        assert errs.startswith("lyre-nbd: "), errs
    assert ok(LYRE, "--version").startswith("lyre-nbd, the NBD server of the Lyre emulator")
    assert "secret" in ok(LYRE, "--object", "help") and "dir" in ok(LYRE, "--object", "tls-creds-x509,help")


def manual():
    """The manual page has each option of --help, and no others."""
    listed = set(re.findall(r"(?:^  |^      |, )(--?[\w-]+)", ok(LYRE, "--help"), re.M))
    with open(os.path.join(SRC, "docs", "man", "lyre-nbd.1"), encoding="utf-8") as f:
        page = f.read().replace("\\-", "-")
    heads = set()
    for head in re.findall(r"^\.TP\n(.*)$", page, re.M):
        heads |= set(re.findall(r"(?<![\w-])(--?[A-Za-z][\w-]*)", re.sub(r"\\f[A-Z]", "", head)))
    assert len(listed) > 40, listed
    assert listed <= heads, f"not in the manual page: {sorted(listed - heads)}"
    assert heads <= listed, f"only in the manual page: {sorted(heads - listed)}"


# ---- as a client: a lyre-nbd that serves what another server has

def proxy(upstream, *more, export=""):
    return lyre("-t", "-e", "0", "-f", "raw", *more, upstream.uri(export))


def through_qemu():
    path = image(16 * MIB)
    new = image(16 * MIB, seed=9)
    with qemu("-t", "-f", "raw", "-x", "a/b c", path) as up, proxy(up, export="a%2Fb%20c") as s:
        mine = ok("nbdinfo", "--map", s.uri())
        out = fresh()
        ok("nbdcopy", "-C", "4", s.uri(), out)
        assert same(path, out)
        ok("nbdcopy", "-C", "4", new, s.uri())
    assert same(path, new)
    with qemu("-t", "-f", "raw", image(16 * MIB)) as up:
        assert mine == ok("nbdinfo", "--map", up.uri())


def through_nbdkit():
    out = fresh()
    for args in (["-o"], ["--no-sr"], ["--mask-handshake=0"], ["--mask-handshake=0x2"], ["--mask-handshake=0x1"], []):
        with nbdkit(*args, "pattern", "3M") as up, proxy(up, "-r") as s:
            ok("nbdcopy", s.uri(), out)
            with open(out, "rb") as f:
                data = f.read()
            assert len(data) == 3 * MIB and data[1 << 20:(1 << 20) + 16] == bytes.fromhex("00000000001000000000000000100008"), args
    for blocks in ("512", "4096", "65536"):
        with nbdkit("--filter=blocksize-policy", "memory", "2M", f"blocksize-minimum={blocks}", "blocksize-preferred=65536",
                    "blocksize-maximum=1M", "blocksize-error-policy=error") as up, proxy(up) as s:
            ok("qemu-io", "-f", "raw", "-c", "write -P 7 1000 300000", "-c", "write -P 8 1M 1M", "-c", "write -z 1500 100",
               "-c", "read -P 7 1600 1000", "-c", "read -P 0 1500 100", "-c", "read -P 8 1M 1M", s.uri())


def errors_come_through():
    with nbdkit("--filter=error", "memory", "1M", "error-pread=ENOSPC", "error-pread-rate=100%") as up, proxy(up) as s:
        fails("", "qemu-io", "-f", "raw", "-c", "read 0 512", s.uri())
        ok("qemu-io", "-f", "raw", "-c", "write 0 512", s.uri())
    with nbdkit("--filter=nozero", "memory", "1M") as up, proxy(up) as s:
        ok("qemu-io", "-f", "raw", "-c", "write -P 3 0 1M", "-c", "write -z 4k 64k", "-c", "read -P 0 4k 64k", s.uri())


def export_not_there():
    with qemu("-t", "-r", "-f", "raw", "-x", "there", image(MIB)) as up:
        fails("export 'gone'", LYRE, "-k", fresh(), "-r", "-f", "raw", up.uri("gone"))
        fails("read-only", LYRE, "-k", fresh(), "-f", "raw", up.uri("there"))


def reconnects():
    path, sock = image(2 * MIB), fresh(".sock")
    up = qemu("-t", "-f", "raw", path, sock=sock)
    opts = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.reconnect-delay=10"
    with lyre("-t", "-e", "0", "--image-opts", opts) as s:
        ok("qemu-io", "-f", "raw", "-c", "read 0 1M", s.uri())
        up.stop(signal.SIGKILL)
        p = subprocess.Popen(["qemu-io", "-f", "raw", "-c", "write -P 0x77 0 64k", "-c", "read -P 0x77 0 64k", s.uri()],
                             stdout=subprocess.PIPE)
        time.sleep(0.4)
        assert p.poll() is None             # waits
        os.unlink(sock)
        with qemu("-t", "-f", "raw", path, sock=sock):
            out = p.communicate(timeout=60)[0]
            assert p.returncode == 0 and b"ail" not in out, out
        assert "ended the connection" in s.said(), s.said()
    with open(path, "rb") as f:
        assert f.read(65536) == b"\x77" * 65536


def says_who():
    with lyre("-t", "-v", "-f", "raw", image(MIB)) as s:
        ok("qemu-io", "-f", "raw", "-r", "-c", "read 0 512", s.uri())
        wait_for(lambda: "gone" in s.said() or "left" in s.said() or "disconnect" in s.said(), "a line about the client")
    assert re.search(r"\w", ok(LYRE, "-T", "help"))


def open_timeout():
    path, sock = image(MIB), fresh(".sock")
    opts = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.open-timeout=60"
    s = subprocess.Popen([LYRE, "-r", "-t", "-k", sock + "2", "--image-opts", opts])
    RUNNING.append(s)
    time.sleep(0.2)
    with qemu("-t", "-r", "-f", "raw", path, sock=sock):
        wait_for(lambda: os.path.exists(sock + "2"), "the proxy")
        s.terminate()
        assert s.wait(60) == 0


if __name__ == "__main__":
    main([info_like_qemu, list_like_qemu, copy_round_trip, copy_between_servers, map_like_qemu, images_like_qemu, qemu_io_works,
          parallel_clients, shared_limit, windows, contexts, overlays, tcp, ends_with_its_client, stop_with_clients, forks, activation, wrong_lines,
          manual, through_qemu, through_nbdkit, errors_come_through, export_not_there, reconnects, says_who, open_timeout])
