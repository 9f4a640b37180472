#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of the source tree that a compiler does not hold.

  arrows   a file includes only headers of its own folder, of its floor's
           neighbours as listed, and of lower floors
  licence  every source file opens with its SPDX line
  words    nothing unfinished, no path of somebody's own machine
  shape    no tabs or trailing blanks in C, and no file that nobody could read
  paths    a file that a page names in `backticks`, folder and all, is there
  pages    a folder with C files has a README.md
  scripts  a file that begins with #! may be executed
"""
import os
import re
import subprocess
import sys

# Lower number = lower floor; a folder may include its own floor and below.
FLOORS = {
    "util": 0,
    "fpu": 1, "system": 1, "tcg": 1, "block": 1, "net": 1, "chardev": 1, "ui": 1,
    "target": 2,
    "hw": 3, "accel": 3, "gdb": 3, "dump": 3,
    "monitor": 4,
    "cmd": 5,
    "tests": 6,
}
# Folders that never include these, whatever the floors say.
NEVER = {
    "tcg": ("target", "hw", "accel", "system", "chardev", "block", "net", "ui"),
    "fpu": ("system", "tcg", "block", "net", "chardev", "ui"),
    "target": ("chardev", "block", "net", "ui"),
}
WORDS = re.compile(r"/home/\w|/root/|\bFIXME\b|\bXXX\b|\bTODO\b")     # unfinished, or somebody's own folder
# `tcg/x64/pins.c`, `../jit/`, `hw/` in pages; what is made (build/, gen/) and examples in capitals are not looked for.
PATH = re.compile(r"`((?:\.\./|[a-z\d._-]+/)+(?:[\w-]+\.(?:c|h|md|S|tab|py|ir|mk|1))?)`")
MADE = ("build/", "gen/", "guests/", "./")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
C_FILES = (".c", ".h")
TEXT_FILES = C_FILES + (".py", ".sh", ".mk", ".md", ".S", ".tab", ".ir", ".sch", ".1")
MAX_LINES = 1200


def tracked(root):
    """The files git knows, or all files where there is no git."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                             check=True, capture_output=True, text=True).stdout
        return [f for f in out.splitlines() if os.path.isfile(os.path.join(root, f))]
    except (OSError, subprocess.CalledProcessError):
        return [os.path.relpath(os.path.join(d, f), root)
                for d, _, fs in os.walk(root) for f in fs]


def check_arrow(path, inc):
    """Why `path` may not include `inc`, or None."""
    mine, theirs = path.split("/")[0], inc.split("/")[0]
    if "/" not in inc:
        return f'"{inc}" does not name its folder'
    if mine not in FLOORS or theirs not in FLOORS or mine == theirs:
        return None
    if FLOORS[theirs] > FLOORS[mine]:
        return f'{mine} is below {theirs} and must not include "{inc}"'
    if theirs in NEVER.get(mine, ()):
        return f'{mine} never includes {theirs} ("{inc}")'
    return None


def check_file(root, path):
    """Yields (line, complaint)."""
    ext = os.path.splitext(path)[1]
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        lines = f.read().split("\n")
    first = "\n".join(lines[:2])
    if first.startswith("#!") and not os.access(os.path.join(root, path), os.X_OK):
        yield 1, "it begins with #! and may not be executed: chmod +x"
    if ext in C_FILES + (".py", ".sh", ".mk", ".S") and "SPDX-License-Identifier: MIT" not in first:
        yield 1, "the file does not open with its SPDX line"
    for n, line in enumerate(lines, 1):
        if path != "tools/lint.py" and WORDS.search(line):
            yield n, f"word that has no place here: {WORDS.search(line)[0]}"
        if ext in C_FILES:
            m = INCLUDE.match(line)
            why = check_arrow(path, m[1]) if m else None
            if why:
                yield n, why
            if line != line.rstrip():
                yield n, "blanks at the end of the line"
            if "\t" in line:
                yield n, "a tab"
    if ext in C_FILES and len(lines) > MAX_LINES:
        yield len(lines), f"more than {MAX_LINES} lines: look for the second subject"


def check_page(root, path):
    """Yields (line, complaint) for files that a page names and that are nowhere."""
    with open(os.path.join(root, path), encoding="utf-8") as f:
        lines = f.read().split("\n")
    for n, line in enumerate(lines, 1):
        for name in PATH.findall(line):
            there = (os.path.join(root, name), os.path.join(root, os.path.dirname(path), name))
            if not name.startswith(MADE) and not any(map(os.path.exists, there)):
                yield n, f"'{name}' is not there"


def check_pages(files):
    """Yields folders that have C files and no README.md."""
    folders = {os.path.dirname(f) for f in files if f.endswith(".c")}
    yield from sorted(d for d in folders if os.path.join(d, "README.md") not in files)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    bad = 0
    files = set(tracked(root))
    for folder in check_pages(files):
        print(f"{folder}: it has C files and no README.md: what lives here, what never does, what to read first")
        bad += 1
    for path in sorted(files):
        name = os.path.basename(path)
        if os.path.splitext(path)[1] in TEXT_FILES or name in ("configure", "Makefile", "run"):
            for line, why in check_file(root, path):
                print(f"{path}:{line}: {why}")
                bad += 1
        if path.endswith(".md"):
            for line, why in check_page(root, path):
                print(f"{path}:{line}: {why}")
                bad += 1
    print("lint: clean" if not bad else f"lint: {bad} complaints")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
