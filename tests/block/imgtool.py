# SPDX-License-Identifier: MIT
"""What the tests of lyre-img share: running it and its model, qemu-img, side by
side, a folder for each test, and which options have been tried."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", "build"))
SRC = os.path.abspath(os.environ.get("LYRE_SRC", "."))
IMG = os.path.join(BUILD, "lyre-img")
IO = os.path.join(BUILD, "lyre-io")
QEMU_IMG = shutil.which("qemu-img")
QEMU_IO = shutil.which("qemu-io")

COMMANDS = ("amend bench bitmap check commit compare convert create dd info map measure rebase resize "
            "snapshot").split()


def fast_folder():
    """Memory, where files can be opened with O_DIRECT as on a disk; or the usual folder."""
    try:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as f:
            os.close(os.open(f.name, os.O_RDWR | os.O_DIRECT))
        return "/dev/shm"
    except OSError:
        return None


FOLDER = fast_folder()


class Failed(Exception):
    """A test's expectation that did not hold."""


class Result:
    """What a program did."""

    def __init__(self, args, p):
        self.line = " ".join(args)
        self.status, self.out, self.errs = p.returncode, p.stdout.decode(), p.stderr.decode()

    def __str__(self):
        return f"$ {self.line}\nstatus {self.status}\n{self.out}{self.errs}"


def run(program, *args, cwd=None, **more):
    args = [str(a) for a in args]
    p = subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, cwd=cwd, **more)
    return Result([os.path.basename(program), *args], p)


class Tried:
    """The options that --help lists, and those that a test has given."""

    def __init__(self):
        self.rows = {}          # (command, "--name") -> all its spellings
        self.given = set()
        for c in COMMANDS:
            for line in run(IMG, c, "--help").out.split("\n"):
                m = re.match(r"  ((?:-\w, )*)(--[\w-]+)", line)
                if m:
                    self.rows[c, m[2]] = set(m[1].replace(",", "").split()) | {m[2]}

    def note(self, args):
        for c, words in ((args[0], args[1:]),) if args and args[0] in COMMANDS else ():
            for (command, name), spellings in self.rows.items():
                for w in words:
                    letters = re.match(r"-(\w+)", w) if not w.startswith("--") else None
                    if command == c and (w.split("=")[0] in spellings or
                                         letters and any("-" + letter in spellings for letter in letters[1])):
                        self.given.add((command, name))

    def missing(self):
        return sorted(" ".join(r) for r in self.rows if r not in self.given and r[1] != "--help")


class Bench:
    """A folder, and commands in it."""

    tried = None

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix=f"lyre-img-{name}-", dir=FOLDER)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def img(self, *args, status=0, told=False, **more):
        """lyre-img, which has to end with that status; told: what is on stderr is expected."""
        args = [str(a) for a in args]
        if Bench.tried:
            Bench.tried.note(args)
        r = run(IMG, *args, cwd=self.dir, **more)
        if r.status != status:
            raise Failed(f"status {r.status}, not {status}:\n{r}")
        if status == 0 and r.errs and not told and "note: " not in r.errs:
            raise Failed(f"words on stderr:\n{r}")
        return r.out

    def fails(self, *args, words=(), status=1, program=IMG):
        """lyre-img, which has to refuse that with these words."""
        args = [str(a) for a in args]
        if Bench.tried:
            Bench.tried.note(args)
        r = run(program, *args, cwd=self.dir)
        if r.status != status:
            raise Failed(f"status {r.status}, not {status}:\n{r}")
        for w in words:
            if w not in r.errs:
                raise Failed(f"no '{w}' in:\n{r}")
        return r.errs

    def qemu(self, *args, status=0):
        r = run(QEMU_IMG, *args, cwd=self.dir)
        if r.status != status:
            raise Failed(f"status {r.status}, not {status}:\n{r}")
        return r.out

    def same(self, *args, change=lambda s: s, status=None):
        """Both on the same files: the same stdout, to the byte, and the same status."""
        args = [str(a) for a in args]
        if Bench.tried:
            Bench.tried.note(args)
        ours = run(IMG, *args, cwd=self.dir)
        if status is not None and ours.status != status:
            raise Failed(f"status {ours.status}, not {status}:\n{ours}")
        if QEMU_IMG:
            theirs = run(QEMU_IMG, *args, cwd=self.dir)
            if change(ours.out) != change(theirs.out) or ours.status != theirs.status:
                raise Failed(f"not the same:\n{ours}\n{theirs}")
        return ours.out

    def io(self, name, *commands, fmt="qcow2"):
        """Writes patterns by qemu-io, or by ours where that is not there."""
        words = [w for c in commands for w in ("-c", c)]
        r = run(QEMU_IO or IO, "-f", fmt, *words, name, cwd=self.dir)
        if r.status or "failed" in r.out + r.errs:
            raise Failed(str(r))

    def write(self, name, *pieces, size=0):
        """A raw file: pieces are (offset, bytes)."""
        with open(self.path(name), "wb") as f:
            for off, data in pieces:
                f.seek(off)
                f.write(data)
            f.truncate(max(size, f.tell()))

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def check(self, name, fmt="qcow2"):
        """Clean, by us and by them."""
        self.img("check", "-q", "-f", fmt, name)
        if QEMU_IMG:
            self.qemu("check", "-q", "-f", fmt, name)


def expect(cond, what):
    if not cond:
        raise Failed(what)


def run_cases(cases, argv):
    """The functions, or those that are named; the last line counts."""
    passed = failed = 0
    for case in cases:
        if argv and case.__name__ not in argv:
            continue
        try:
            case()
            passed += 1
        except (Failed, subprocess.TimeoutExpired, OSError) as e:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {case.__name__}: {e}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0
