"""Time and memory of a trace against T, D and L: three pictures.

    cargo build --release --workspace --bin retrograd
    python3 benches/growth.py [--runs N] [--data FILE] [--draw-only]

Runs `retrograd bench trace --json` on random models around GPT-2 124M's shape, keeps the rows in docs/images/growth.json
(or FILE) and draws docs/images/growth-{tokens,width,layers}.svg. The dashed lines are the arithmetic: the operations that
the products of that trace need, and the bytes that the device has to hold, each scaled to the last point. --draw-only draws
the rows that are kept. Python's standard library only; a few minutes on two cores.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RETROGRAD = Path(os.environ.get("RETROGRAD", ROOT / "target" / "release" / "retrograd"))
IMAGES = ROOT / "docs" / "images"
SWEEPS = {
    "tokens": ("T, tokens", "L = 12, D = 768", [16, 32, 64, 128, 256, 512, 1024]),
    "width": ("D, width", "L = 6, T = 128", [192, 384, 576, 768, 1152, 1536]),
    "layers": ("L, layers", "D = 768, T = 128", [1, 2, 4, 8, 12, 16, 24]),
}
WIDTH, HEIGHT = 760, 320
PANEL = 300
LEFT, TOP, BOTTOM = 62, 52, 46
INK, MEASURED, ARITHMETIC = "#333333", "#08519c", "#d94801"


def flags(sweep, value):
    """The trace of one point."""
    if sweep == "tokens":
        return ["--length", value]
    if sweep == "width":
        return ["--length", 128, "--n-layer", 6, "--n-embd", value]
    return ["--length", 128, "--n-layer", value]


def measure(runs):
    """One process a point: its peak memory is its own."""
    points = {}
    for sweep, (_, _, values) in SWEEPS.items():
        points[sweep] = []
        for value in values:
            command = [str(RETROGRAD), "bench", "trace", "--shape", "gpt2", "--runs", str(runs), "--json"]
            command += [str(flag) for flag in flags(sweep, value)]
            document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            row = document["rows"][0]
            figures = ("median_ms", "min_ms", "peak_rss_mb", "device_mb", "gemm_gflop")
            points[sweep].append({"value": value, **{figure: row[figure] for figure in figures}})
            print(f"{sweep} {value}: {row['median_ms']} ms, {row['peak_rss_mb']} MiB", file=sys.stderr)
    return {"schema": "retrograd-growth/1", "adapter": document["adapter"], "driver": document["driver"], "points": points}


def nice(low, high):
    """Ticks of a logarithmic axis: 1, 2 and 5 times powers of ten, or what lies between."""
    ticks = [m * 10.0**e for e in range(-3, 8) for m in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


class Panel:
    """One logarithmic plot."""

    def __init__(self, left, xs, series, title):
        self.left, self.title, self.xs, self.series = left, title, xs, series
        values = [y for _, _, _, ys in series for y in ys if y]
        self.x_range = (math.log(min(xs)), math.log(max(xs)))
        self.y_range = (math.log(min(values) / 1.25), math.log(max(values) * 1.25))

    def x(self, value):
        low, high = self.x_range
        return self.left + PANEL * (math.log(value) - low) / (high - low)

    def y(self, value):
        low, high = self.y_range
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log(value) - low) / (high - low)

    def draw(self, label):
        out = [f'<text x="{self.left}" y="{TOP - 14}" fill="{INK}">{self.title}</text>']
        for tick in nice(*map(math.exp, self.y_range)):
            y = self.y(tick)
            out.append(f'<line x1="{self.left}" x2="{self.left + PANEL}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
            out.append(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{tick:g}</text>')
        for value in self.xs:
            x = self.x(value)
            out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="{INK}" font-size="11">{value}</text>')
        middle = self.left + PANEL / 2
        out.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle" fill="{INK}">{label}</text>')
        for at, (name, colour, dashes, ys) in enumerate(self.series):
            points = [(self.x(x), self.y(y)) for x, y in zip(self.xs, ys) if y]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dash = ' stroke-dasharray="5 4"' if dashes else ""
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
            if not dashes:
                out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
            y = TOP + 14 + 17 * at
            out.append(f'<line x1="{self.left + 10}" x2="{self.left + 34}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"{dash}/>')
            out.append(f'<text x="{self.left + 40}" y="{y}" fill="{INK}" font-size="12">{name}</text>')
        return out


def draw(sweep, points, where):
    """One picture: time on the left, memory on the right."""
    label, fixed, _ = SWEEPS[sweep]
    xs = [point["value"] for point in points]
    column = lambda name: [point[name] for point in points]
    scaled = lambda expected, found: [value * found[-1] / expected[-1] for value in expected]
    # The fastest run: on a machine that others use the median is theirs as well.
    times, memory = column("min_ms"), column("peak_rss_mb")
    left = Panel(LEFT, xs, [
        ("measured, fastest run", MEASURED, False, times),
        ("operations of the products", ARITHMETIC, True, scaled(column("gemm_gflop"), times)),
    ], "one trace, ms")
    right = Panel(LEFT + PANEL + 78, xs, [
        ("peak of the process", MEASURED, False, memory),
        ("weights and activations", ARITHMETIC, True, column("device_mb")),
    ], "memory, MiB")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" fill="{INK}" font-weight="bold">A trace against {label} ({fixed}, f32)</text>',
        f'<text x="{WIDTH - 14}" y="18" fill="{INK}" font-size="11" text-anchor="end">{where}</text>',
        *left.draw(label),
        *right.draw(label),
    ]
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=IMAGES / "growth.json")
    parser.add_argument("--draw-only", action="store_true")
    options = parser.parse_args()
    if not options.draw_only:
        if not RETROGRAD.exists():
            sys.exit(f"error: there is no {RETROGRAD}: cargo build --release --workspace --bin retrograd")
        options.data.write_text(json.dumps(measure(options.runs), indent=1) + "\n")
    measured = json.loads(options.data.read_text())
    for sweep, points in measured["points"].items():
        picture = draw(sweep, points, measured["adapter"])
        (IMAGES / f"growth-{sweep}.svg").write_text(picture)


if __name__ == "__main__":
    main()
