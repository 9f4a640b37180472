#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the benchmark runner notice what it must? A pretended emulator answers
right, answers wrong, crashes, or hangs; the kernels themselves run natively."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

FAKE = """#!/bin/sh
# pretends to run the bare-metal program named last: runs its orders natively
[ "$1" = --version ] && { echo "fake 1"; exit 0; }
for elf; do :; done
orders=$(grep -a -o -E '(fib20|amo|sha256):[0-9]+:[0-9]+' "$elf" | head -n 1)
case $orders in
    amo*) case $MODE in hang) exec sleep 30 ;; crash) kill -SEGV $$ ;; status) exit 3 ;; esac ;;
esac
"$NATIVE" $orders | if [ "$MODE" = wrong ]; then sed '/^BENCH amo/s/$/1/'
                    elif [ "$MODE" = silent ]; then grep -v amo; else cat; fi
"""


def run_bench(work, mode):
    out = os.path.join(work, "out.json")
    env = dict(os.environ, MODE=mode, NATIVE=os.path.join(work, "native"))
    p = subprocess.run(
        [os.path.join(HERE, "bench"), "fib20", "amo", "--work", work, "--rounds", "2",
         "--lyre", os.path.join(work, "fake"), "--columns", "native,lyre", "--batches", "2",
         "--scale", "0.01", "--timeout", "2", "--json", out],
        env=env, capture_output=True, text=True, timeout=120)
    with open(out) as f:
        rows = {r["name"]: r for r in json.load(f)["kernels"]}
    return p, rows


def expect(mode, words, work):
    """One mode; `words` must be in amo's notes (None: all is well)."""
    p, rows = run_bench(work, mode)
    notes = " ".join(rows["amo"]["notes"])
    good = {
        "fib20 is fine": not rows["fib20"]["notes"] and "lyre" in rows["fib20"]["ns"],
        "status": p.returncode == (1 if words else 0),
        "notes": words in notes if words else not notes,
        "named": "amo" in p.stderr if words else "FAILED" not in p.stderr,
        "no speed for a wrong answer": words is None or "lyre" not in rows["amo"]["ns"],
    }
    for what, ok in good.items():
        if not ok:
            print(f"{mode}: not as expected: {what}\n  notes: {notes}\n{p.stdout}{p.stderr}")
    return all(good.values())


def main():
    if not shutil.which("riscv64-linux-gnu-gcc") or not shutil.which("gcc"):
        print("needs gcc and gcc-riscv64-linux-gnu")
        return 77
    modes = {"right": None, "wrong": "CHECKSUM WRONG", "hang": "stopped after 2 s",
             "crash": "died of signal 11", "status": "exit status 3", "silent": "no answer"}
    with tempfile.TemporaryDirectory() as work:
        fake = os.path.join(work, "fake")
        with open(fake, "w") as f:
            f.write(FAKE)
        os.chmod(fake, 0o755)
        results = [expect(mode, words, work) for mode, words in modes.items()]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
