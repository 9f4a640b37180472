#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs test programs and scripts, some at a time, each under a time bound.

Each prints "N passed, N failed" as its last line; one that does not, dies or
overruns counts as one failure more. Exit status 77 means skipped: the host
lacks what the test needs. The last line printed here is the sum over all.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed\b")


def shown(path):
    """The path as it is below the source tree or the build folder."""
    full = os.path.abspath(path)
    for base in (os.environ.get("LYRE_BUILD"), os.environ.get("LYRE_SRC")):
        if base and full.startswith(base + os.sep):
            return os.path.relpath(full, base)
    return path


def run_one(path, timeout):
    """Returns (path, passed, failed, skipped, seconds, output)."""
    start = time.monotonic()
    proc = subprocess.Popen([os.path.abspath(path)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True)
    note = ""
    try:
        out, _ = proc.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        out, _ = proc.communicate()
        note = f"took more than {timeout} s and was stopped\n"
    text = out.decode("utf-8", "replace")
    seconds = time.monotonic() - start
    if proc.returncode == 77 and not note:
        return path, 0, 0, True, seconds, text
    passed = failed = 0
    lines = text.strip().splitlines()
    m = SUMMARY.match(lines[-1]) if lines else None
    if m:
        passed, failed = int(m[1]), int(m[2])
    if proc.returncode < 0 and not note:
        note = f"died of {signal.Signals(-proc.returncode).name}\n"
    if not failed and (not m or proc.returncode or note):
        failed = 1
        note = note or f"exit status {proc.returncode}" + \
            ("" if m else ", and no line of results") + "\n"
    return path, passed, failed, False, seconds, text + note


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--timeout", type=float, default=180)
    ap.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4))
    ap.add_argument("tests", nargs="*")
    args = ap.parse_args()

    passed = failed = skipped = 0
    broken = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run_one, t, args.timeout) for t in args.tests]
        for run in concurrent.futures.as_completed(runs):
            path, p, f, skip, seconds, text = run.result()
            passed, failed, skipped = passed + p, failed + f, skipped + skip
            name = shown(path)
            if skip:
                print(f"  SKIP  {name}: {text.strip().splitlines()[-1:] or ['']}")
            else:
                print(f"  {'FAIL' if f else 'ok':5} {name}  {p} passed, {f} failed  "
                      f"({seconds:.1f} s)")
            if f:
                broken.append((name, text))
                print("".join("        " + l + "\n" for l in text.splitlines()), end="")
            sys.stdout.flush()
    if broken:                  # once more at the end: it scrolled away above
        print("== failed")
    for name, text in broken:
        print(f"  FAIL  {name}")
        print("".join("        " + l + "\n" for l in text.splitlines()[-30:]), end="")
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
