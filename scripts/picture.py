#!/usr/bin/env python3
"""Draws what a command prints to a terminal as an SVG (Python 3, standard library).

    CLICOLOR_FORCE=1 retrograd trace 'The capital of France is' --target ' Paris' |
        scripts/picture.py "retrograd trace 'The capital of France is' --target ' Paris'" > docs/images/trace.svg

The argument is shown as the prompt's line. Every run of text is placed on the grid of a terminal, so that columns
stay in line whatever font the viewer has; bars and coloured cells are drawn as rectangles.
"""

import html
import re
import sys
import unicodedata

CELL, LINE, SIZE, MARGIN = 8.4, 19.0, 14, 16
INK, PAPER, DIM = "#d8dee9", "#14161b", 0.62
# The sixteen colours of a terminal that the pages use, in tones that can be read on the dark ground.
NAMED = ["#14161b", "#ef6b73", "#8fd07c", "#e8c66a", "#6ea8fe", "#c792ea", "#5fd0d0", "#d8dee9"]
BARS = {c: (i + 1) / 8 for i, c in enumerate("▏▎▍▌▋▊▉█")}


def colour(code: int) -> str:
    """One of a terminal's 256 colours."""
    if code < 16:
        return NAMED[code % 8]
    if code < 232:
        level = [0, 95, 135, 175, 215, 255]
        red, green, blue = (level[(code - 16) // n % 6] for n in (36, 6, 1))
    else:
        red = green = blue = 8 + 10 * (code - 232)
    return f"#{red:02x}{green:02x}{blue:02x}"


class Style:
    def __init__(self):
        self.reset()

    def reset(self):
        self.bold, self.dim, self.ink, self.ground = False, False, None, None

    def apply(self, codes):
        codes = list(codes) or [0]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code in (1, 2):
                self.bold, self.dim = self.bold or code == 1, self.dim or code == 2
            elif code in (38, 48):
                assert codes.pop(0) == 5, "256 colours only"
                setattr(self, "ink" if code == 38 else "ground", colour(codes.pop(0)))
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.ink = NAMED[code % 10]
            else:
                sys.exit(f"picture.py: does not know the style {code}")


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def draw(lines, out):
    style, columns = Style(), 0
    for row, line in enumerate(lines):
        column, top = 0, MARGIN + row * LINE
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if part.startswith("\x1b"):
                style.apply(int(code) for code in part[2:-1].split(";") if code)
                continue
            cells = width(part)
            x, ink = MARGIN + column * CELL, style.ink or INK
            if style.ground and cells:
                out.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{cells * CELL:.1f}" height="{LINE:.1f}" fill="{style.ground}"/>')
            for run in re.finditer(r"[▏▎▍▌▋▊▉█]+|[^\s▏▎▍▌▋▊▉█]+(?: [^\s▏▎▍▌▋▊▉█]+)*", part):
                at, text = x + width(part[: run.start()]) * CELL, run.group()
                if text[0] in BARS:
                    long = sum(BARS[c] for c in text) * CELL
                    out.append(f'<rect x="{at:.1f}" y="{top + 3:.1f}" width="{long:.1f}" height="{LINE - 6:.1f}" fill="{ink}"/>')
                    continue
                extra = ' font-weight="700"' if style.bold else ""
                extra += f' opacity="{DIM}"' if style.dim else ""
                extra += f' fill="{ink}"' if style.ink else ""
                out.append(
                    f'<text x="{at:.1f}" y="{top + 14:.1f}" textLength="{width(text) * CELL:.1f}"{extra}>{html.escape(text)}</text>'
                )
            column += cells
        columns = max(columns, column)
    return columns


def main():
    command = sys.argv[1:]
    page = sys.stdin.read().rstrip("\n").split("\n")
    lines = [f"\x1b[32m$\x1b[0m \x1b[1m{line}\x1b[0m" for line in command] + ([""] if command else []) + page
    body = []
    columns = draw(lines, body)
    w, h = 2 * MARGIN + columns * CELL, 2 * MARGIN + len(lines) * LINE
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" role="img" '
        f'fill="{INK}" font-size="{SIZE}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace">'
    )
    print(f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>')
    print("\n".join(body))
    print("</svg>")


main()
