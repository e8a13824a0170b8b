"""The loss curve of a training as an SVG picture.

    retrograd train … --json > log.jsonl
    python3 models/atlas/corpus/plot_loss.py log.jsonl models/atlas/loss.svg

Reads the lines of `retrograd train --json`; draws each step's loss, its running mean over 50 steps and, where the
log has them, the held-out losses. Python's standard library only; the same log gives the same bytes.
"""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 30, 50
WINDOW = 50


def running_mean(losses: list[float]) -> list[float]:
    """The mean of the last WINDOW values at each place."""
    means, total = [], 0.0
    for i, loss in enumerate(losses):
        total += loss - (losses[i - WINDOW] if i >= WINDOW else 0.0)
        means.append(total / min(i + 1, WINDOW))
    return means


class Scale:
    """Steps to pixels, losses to pixels on a logarithmic axis."""

    def __init__(self, steps: int, low: float, high: float):
        self.steps, self.low, self.high = steps, math.log(low), math.log(high)

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(self.steps, 1)

    def y(self, loss: float) -> float:
        share = (math.log(loss) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def line(self, points: list[tuple[float, float]], style: str) -> str:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{path}" fill="none" {style}/>'


def draw(rows: list[dict]) -> str:
    """The whole picture."""
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    held_out = [(row["step"], row["held_out_loss"]) for row in rows if "held_out_loss" in row]
    values = [loss for _, loss in losses + held_out]
    low, high = 0.9 * min(values), 1.05 * max(values)
    scale = Scale(losses[-1][0], low, high)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for tick in (0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8):
        if low < tick < high:
            y = scale.y(tick)
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333333">{tick:g}</text>')
    spacing = 500 if scale.steps > 1500 else max(1, scale.steps // 5)
    for step in range(0, scale.steps + 1, spacing):
        x = scale.x(step)
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#333333">{step}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle" fill="#333333">step</text>')
    out.append(f'<text x="{LEFT}" y="18" fill="#333333">loss (nats per token, logarithmic)</text>')
    out.append(scale.line(losses, 'stroke="#9ecae1" stroke-width="0.8"'))
    means = running_mean([loss for _, loss in losses])
    out.append(scale.line(list(zip((s for s, _ in losses), means)), 'stroke="#08519c" stroke-width="2"'))
    legend = [("#9ecae1", "one batch"), ("#08519c", f"mean of {WINDOW} batches")]
    if held_out:
        for step, loss in held_out:
            out.append(f'<circle cx="{scale.x(step):.1f}" cy="{scale.y(loss):.1f}" r="3.5" fill="#d94801"/>')
        legend.append(("#d94801", "held-out text"))
    for i, (colour, label) in enumerate(legend):
        y = TOP + 20 + 20 * i
        out.append(f'<rect x="{WIDTH - 190}" y="{y - 9}" width="18" height="8" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - 164}" y="{y}" fill="#333333">{label}</text>')
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    Path(sys.argv[2]).write_text(draw(rows))


if __name__ == "__main__":
    main()
