# SPDX-License-Identifier: MIT
"""Numbers into tables: text for the terminal, Markdown for docs/performance.md."""
import math

HEAD = ("kernel", "unit", "native ns", "Lyre x native", "QEMU x native",
        "speed-up", "by CPU s", "notes")


def geomean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def number(v, digits=3):
    if v is None:
        return "-"
    if v == 0:
        return "0"
    places = max(0, digits - 1 - int(math.floor(math.log10(abs(v)))))
    return f"{v:.{min(places, 3)}f}"


def kernel_rows(results):
    """results: list of dicts, see bench.py; yields (class, cells, ratios)."""
    for r in results:
        nat, lyre, qemu = (r["ns"].get(c) for c in ("native", "lyre", "qemu"))
        xl = lyre / nat if lyre and nat else None
        xq = qemu / nat if qemu and nat else None
        up = qemu / lyre if qemu and lyre else None
        cl, cq = (r["cpu"].get(c) for c in ("lyre", "qemu"))
        by_cpu = cq / cl if cl and cq else None
        cells = (r["name"], r["unit"], number(nat), number(xl), number(xq),
                 number(up), number(by_cpu), "; ".join(r["notes"]))
        yield r["class"], cells, (xl, xq, up, by_cpu)


def with_means(results):
    """The rows, each class closed by its geometric mean."""
    rows, means, group, current = [], [], [], None

    def close():
        if group:
            # a mean is only honest over rows that all columns have
            cols = [geomean(c) if all(c) else None for c in zip(*group)]
            means.append((current, cols, len(group)))

    for cls, cells, ratios in kernel_rows(results):
        if cls != current:
            close()
            group, current = [], cls
        rows.append((cls, cells))
        group.append(ratios)
    close()
    return rows, means


def mean_rows(means):
    for cls, cols, n in means:
        yield (cls, str(n)) + tuple(number(c) for c in cols)


MEAN_HEAD = ("class", "kernels", "Lyre x native", "QEMU x native", "speed-up", "by CPU s")


def boot_rows(boots):
    for b in boots:
        if b["runs"]:
            best = min(b["runs"], key=lambda r: r["cpu"])
            yield (b["column"], number(best["cpu"]), number(min(r["wall"] for r in b["runs"])),
                   number(best["rss_mib"]), "; ".join(b["notes"]))
        else:
            yield (b["column"], "-", "-", "-", "; ".join(b["notes"]))


BOOT_HEAD = ("emulator", "CPU s", "wall s", "peak RSS MiB", "notes")


def as_text(head, rows):
    table = [head] + [tuple(r) for r in rows]
    width = [max(len(r[i]) for r in table) for i in range(len(head))]
    lines = []
    for n, r in enumerate(table):
        cells = [c.ljust(w) if i in (0, len(head) - 1) or (head is HEAD and i == 1) else c.rjust(w)
                 for i, (c, w) in enumerate(zip(r, width))]
        lines.append("  ".join(cells).rstrip())
        if n == 0:
            lines.append("-" * min(len(lines[0]) + 8, 100))
    return "\n".join(lines)


def as_markdown(head, rows):
    def line(cells):
        return "| " + " | ".join(cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head))] + [line(r) for r in rows])


def boot_speedup(boots):
    cpu = {b["column"]: min(r["cpu"] for r in b["runs"]) for b in boots if b["runs"]}
    if "lyre" in cpu and "qemu" in cpu:
        return f"Boot: Lyre uses 1/{cpu['qemu'] / cpu['lyre']:.2f} of QEMU's CPU time."
    return ""


def render(data, table):
    """The whole report; `table` is as_text or as_markdown."""
    rows, means = with_means(data["kernels"])
    parts = []
    if rows:
        parts.append(table(HEAD, [cells for _, cells in rows]))
        parts.append("Geometric means:")
        parts.append(table(MEAN_HEAD, mean_rows(means)))
    if data["boot"]:
        parts.append("Linux boot to its first program and power-off (best of the rounds):")
        parts.append(table(BOOT_HEAD, boot_rows(data["boot"])))
        parts.append(boot_speedup(data["boot"]))
    return "\n\n".join(p for p in parts if p)


def markdown(data):
    host = data["host"]
    head = [
        "# Performance",
        "Made by `tests/bench/bench`; see `tests/bench/README.md` for what the numbers mean.",
        "\n".join(f"* {k}: {v}" for k, v in (
            ("date", data["date"]), ("host", f"{host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}"),
            ("command", f"`{data['command']}`"), ("rounds", data["rounds"]),
            ("Lyre", data["versions"].get("lyre", "not run")),
            ("QEMU", data["versions"].get("qemu", "not run")),
            ("native", data["versions"].get("native", "not run")),
            ("load before", data["load"]))),
    ]
    return "\n\n".join(head + [render(data, as_markdown)]) + "\n"
