#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Collects the rows that source files offer into one readable C file.

usage: sets.py OUT.c KIND[,KIND]... FILE.c...

Each line `KIND(name) = {` at the beginning of a line, `DEVICE(uart) = {` say,
joins the set of its kind, in the order of the names. Nothing registers itself
when the program starts.
"""
import re
import sys

KINDS = {
    # macro: (header, C type, prefix of the row's name, name of the set)
    "DEVICE": ("hw/core/device.h", "DeviceClass", "device_", "device_set"),
    "BOARD": ("hw/core/board.h", "Board", "board_", "board_set"),
    "NETDEV": ("net/net.h", "NetKind", "netdev_", "netdev_set"),
    "BLOCK": ("block/driver.h", "BlockDriver", "block_", "block_set"),
}
ROW = re.compile(r"^(%s)\((\w+)\)\s*=" % "|".join(KINDS), re.M)


def main():
    out, kinds, files = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    rows = {kind: set() for kind in kinds}
    for path in files:
        with open(path, encoding="utf-8") as f:
            for kind, name in ROW.findall(f.read()):
                if kind not in rows:
                    continue
                if name in rows[kind]:
                    sys.exit(f"sets.py: {path}: {kind}({name}) is there twice")
                rows[kind].add(name)
    lines = ["/* SPDX-License-Identifier: MIT */",
             "/* Written by tools/sets.py from rows of the sources. */"]
    lines += [f'#include "{KINDS[kind][0]}"' for kind in kinds]
    for kind in kinds:
        _, ctype, prefix, setname = KINDS[kind]
        lines.append("")
        lines += [f"extern const {ctype} {prefix}{name};" for name in sorted(rows[kind])]
        lines.append(f"const {ctype} *const {setname}[] = {{")
        lines += [f"    &{prefix}{name}," for name in sorted(rows[kind])]
        lines += ["    0", "};"]
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
