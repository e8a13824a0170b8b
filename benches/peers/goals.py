"""The tables of docs/performance.md, written from what compare.py measured.

    python benches/peers/goals.py FILE.json      (compare.py --json FILE.json wrote it; --update-docs calls this)

Between the marks `<!-- goals -->` and `<!-- peers -->` and their ends everything is replaced; goals whose figure was not
measured in this run keep their line. Times that were taken while others kept the machine busy say nothing about the programs
(those that keep several threads in step lose most): above a load of 1.5 a core only memory is written.
"""

import json
import os
import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "performance.md"
OURS = "retrograd"


class Measured:
    """Rows by work, length and program."""

    def __init__(self, document):
        self.rows = {(row["work"], row["length"], row["program"]): row for row in document["rows"] if not row.get("failed")}

    def row(self, work, length, program):
        return self.rows.get((work, length, program))

    def against(self, work, length, theirs, ours=OURS):
        """(our row, their row, ours by theirs, the same of the fastest runs), or None."""
        a, b = self.row(work, length, ours), self.row(work, length, theirs)
        if not a or not b:
            return None
        if ours == self.first(work, length):
            return a, b, b["ratio"], b["min_ratio"]
        return a, b, a["median_ms"] / b["median_ms"], a["min_ms"] / b["min_ms"]

    def first(self, work, length):
        """Whom the ratios of a piece of work compare with."""
        return next(program for w, l, program in self.rows if (w, l) == (work, length))


def seconds(ms):
    return f"{ms / 1e3:.2f} s" if ms >= 1000 else f"{ms:.0f} ms"


def ratio(found, name):
    a, b, value, fastest = found
    return (
        f"{value:.2f} × ({seconds(a['median_ms'])}; {name} {seconds(b['median_ms'])}); "
        f"fastest runs {fastest:.2f} × ({seconds(a['min_ms'])}; {seconds(b['min_ms'])})"
    )


def goals(measured):
    """(work, goal, figure or None): one line each."""
    m, lines = measured, []

    def line(work, goal, figure):
        lines.append((work, goal, figure))

    plain, authors = "PyTorch, no weight gradients", "PyTorch, the authors' way"
    for t in (64, 256, 1024):
        found = m.against("trace", t, plain)
        line("trace", f"trace, T = {t}: ≤ 1.0 × PyTorch without weight gradients", found and ratio(found, "PyTorch"))
        found = m.against("trace", t, authors)
        line("trace", f"trace, T = {t}: ≤ 0.7 × the authors' way", found and ratio(found, "theirs"))
    for name in ("candle", "llm.c"):
        found = m.against("trace", 64, f"{name}, forward and backward")
        line("trace", f"trace, T = 64: ≤ 0.5 × {name}'s forward and backward pass", found and ratio(found, name))
    ours, burn = m.row("gemm", 64, OURS), m.row("gemm", 64, "burn-wgpu")
    figure = ours and burn and f"{ours['gflops'] / burn['gflops']:.1f} × ({ours['gflops']:.0f}; burn {burn['gflops']:.0f} GFLOP/s)"
    line("gemm", "GEMM: ≥ 4 × burn's wgpu backend on the same driver", figure)
    profile, best = m.row("profile", 128, OURS), m.row("profile", 128, f"{OURS}, best product")
    figure = None
    if profile and best and "gemm_time_share" in profile:
        share, rate = profile["gemm_time_share"], profile["gemm_gflops"] / best["gflops"]
        figure = f"{share:.0%} at {rate:.0%} ({profile['gemm_gflops']:.0f} of {best['gflops']:.0f} GFLOP/s)"
    line("profile", "share of a trace in GEMMs ≥ 85 %, at ≥ 85 % of the best rate (T = 128)", figure)
    for t in (64, 256, 1024):
        for ours, goal in ((OURS, "0.6"), (f"{OURS}, f16", "0.4")):
            a, b = m.row("trace", t, ours), m.row("trace", t, plain)
            kind = "f16 weights" if ours != OURS else "f32"
            figure = a and b and f"{a['peak_rss_mb'] / b['peak_rss_mb']:.2f} × ({a['peak_rss_mb']:.0f}; {b['peak_rss_mb']:.0f} MB)"
            line("trace", f"peak memory, T = {t}, {kind}: ≤ {goal} × PyTorch's", figure)
    for name, goal in ((OURS, "warm shader cache: ≤ 0.4 s"), (f"{OURS}, no shader cache", "no shader cache: ≤ 3 s")):
        row = m.row("start, atlas", 5, name)
        line("start", f"process start to result, atlas, {goal}", row and seconds(row["median_ms"]))
    for theirs, goal in (("PyTorch + transformers", "0.25"), ("PyTorch, hand-written", "0.6")):
        found = m.against("start, 124M", 5, theirs)
        line("start", f"process start to result, 124M: ≤ {goal} × {theirs}", found and ratio(found, "theirs"))
    a = m.row("generate", 64, f"{OURS}, f16")
    theirs = [m.row("generate", 64, f"PyTorch, {kind}") for kind in ("f32", "bf16")]
    theirs = max((row["tokens_per_s"] for row in theirs if row), default=None)
    figure = a and theirs and f"{a['tokens_per_s'] / theirs:.2f} × ({a['tokens_per_s']:.1f}; PyTorch's better precision {theirs:.1f})"
    line("generate", "tokens/s with a cache, f16 weights: ≥ PyTorch's", figure)
    ours, theirs = m.row("heads", 32, OURS), m.row("heads", 32, "PyTorch, a forward pass a head")
    figure = ours and f"{ours['times_cheaper']:.1f} × ({seconds(ours['median_ms'])})"
    line("heads", "effects of all 144 heads, T = 32: ≥ 4 × faster than 145 forward passes", figure)
    figure = ours and theirs and f"{theirs['median_ms'] / ours['median_ms']:.1f} × ({seconds(ours['median_ms'])}; PyTorch {seconds(theirs['median_ms'])})"
    line("heads", "effects of all 144 heads, T = 32: faster than PyTorch, a forward pass a head", figure)
    figure = ours and f"{ours['ranking_times_cheaper']:.0f} × ({seconds(ours['ranking_ms'])})"
    line("heads", "ranking by Reversed Attention, T = 32: ≥ 70 × cheaper than 145 forward passes", figure)
    found = m.against("train", 64, "PyTorch")
    line("train", "training step, 124M, 4×64: ≤ 1.3 × PyTorch's", found and ratio(found, "PyTorch"))
    row = m.row("xl", 32, f"{OURS}, f16")
    figure = row and f"{row['peak_rss_mb'] / 1e3:.1f} GB"
    line("xl", "GPT-2 XL's shape, f16, T = 32, one trace: within 6 GB", figure)
    return lines


def goals_table(document, before):
    """Lines of the table; what was not measured now stays as it was."""
    kept = {line.split(" | ")[0].lstrip("| "): line for line in before.splitlines() if line.startswith("| ")}
    date = document["date"]
    lines = ["| goal | figure | machine | date | command |", "|---|---|---|---|---|"]
    for work, goal, figure in goals(Measured(document)):
        if busy(document) and "memory" not in goal and "GB" not in goal:
            figure = None
        new = f"| {goal} | {figure} | {document['machine']}; {document['adapter']} | {date} | `benches/peers/run.sh --only {work}` |"
        missing = f"| {goal} | to be measured | | | `benches/peers/run.sh --only {work}` |"
        lines.append(new if figure else kept.get(goal, missing))
    return "\n".join(lines)


def busy(document):
    """Whether others kept the machine busy."""
    return document["load"] > 1.5 * (os.cpu_count() or 1)


def peers_table(document, before):
    """Every program's row of the works measured now; other works' rows stay."""
    lines = ["| work | T | program | ms | ours / theirs | fastest | ours / theirs | peak MB | rate | date |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    now = {(row["work"], str(row["length"])) for row in document["rows"]}
    for line in before.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10 and (cells[0], cells[1]) not in now:
            lines.append(line)
    for row in document["rows"]:
        if row.get("failed"):
            lines.append(f"| {row['work']} | {row['length']} | {row['program']} | failed | | | | | | {document['date']} |")
            continue
        rate = f"{row['gflops']:.1f} GFLOP/s" if "gflops" in row else f"{row['tokens_per_s']:.1f} tokens/s" if "tokens_per_s" in row else ""
        value, least = ("" if row[name] is None else f"{row[name]:.2f}" for name in ("ratio", "min_ratio"))
        lines.append(
            f"| {row['work']} | {row['length']} | {row['program']} | {row['median_ms']:.1f} | {value} "
            f"| {row['min_ms']:.1f} | {least} | {row['peak_rss_mb']:.0f} | {rate} | {document['date']} |"
        )
    return "\n".join(lines)


def update(document):
    """Writes both tables; of a busy machine the memory goals alone."""
    if busy(document):
        print(f"load {document['load']}: times are not written to {DOCS.name}", file=sys.stderr)
    text = DOCS.read_text(encoding="utf-8")
    tables = [("goals", goals_table)] if busy(document) else [("goals", goals_table), ("peers", peers_table)]
    for mark, table in tables:
        pattern = re.compile(rf"(<!-- {mark} -->\n)(.*?)(\n<!-- /{mark} -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"error: {DOCS} has no '<!-- {mark} -->' … '<!-- /{mark} -->'")
        text = pattern.sub(lambda found: found[1] + table(document, found[2].strip()) + found[3], text)
    DOCS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")))
