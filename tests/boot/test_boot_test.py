#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does boot-test notice what it must? A pretended emulator plays the hello
guest well, or badly in one way."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

FAKE = '''#!/usr/bin/env python3
import os, sys, time
mode = os.environ["MODE"]
def say(s): print(s, end="\\r\\n", flush=True)
say("Hello from a 64-bit RISC-V guest")
say("Type a line")
if mode == "early": sys.exit(0)
if mode == "crash": os.abort()
line = ""
while not line.endswith(("\\r", "\\n")): line += sys.stdin.read(1)
line = line.strip()
if mode == "deaf": line = line[:5]
say('You said "%s"' % line)
if mode == "panic": say("Kernel panic - not syncing: just so")
if mode == "silent": time.sleep(60)
say("78498, in 1 ms")
say("Powering off")
if mode == "lingers": time.sleep(60)
sys.exit(4 if mode == "status" else 0)
'''

MODES = {
    "good": None,
    "early": "ended with status 0 before it said 'You said",
    "crash": "ended with status -6 before",
    "deaf": "before it said 'You said",
    "panic": "the guest complains: Kernel panic",
    "silent": "did not say '78498",
    "lingers": "should have ended",
    "status": "ended with status 4, not 0",
}


def try_mode(mode, why, console, work):
    p = subprocess.run(
        [os.path.join(HERE, "boot-test"), "hello", "--emulator", os.path.join(work, "fake"),
         "--work", work, "--patience", "0.1", "--console", console],
        env=dict(os.environ, MODE=mode), capture_output=True, text=True, timeout=100)
    good = p.returncode == (1 if why else 0) and (why or "ok   hello") in p.stdout
    if not good:
        print(f"{mode} on a {console}: expected '{why}', got\n{p.stdout}{p.stderr}")
    return good


def main():
    with tempfile.TemporaryDirectory() as work:
        fake = os.path.join(work, "fake")
        with open(fake, "w") as f:
            f.write(FAKE)
        os.chmod(fake, 0o755)
        results = [try_mode(m, why, "pty", work) for m, why in MODES.items()]
        results.append(try_mode("good", None, "pipe", work))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
