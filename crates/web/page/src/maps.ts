// How attention maps and norms are drawn.

import { inTriangle, type HeadMap, type MapKind } from "./payload";
import type { Pen } from "./pen";
import { css, diverging, sequential, type Theme } from "./theme";

/** The colour of a value: A from 0, R to both sides. Roots spread the small values, of which there are most. */
export function colour(kind: MapKind, value: number, largest: number, theme: Theme): [number, number, number] {
  const share = largest > 0 ? value / largest : 0;
  return kind === "pattern" ? sequential(Math.sqrt(Math.max(share, 0))) : diverging(Math.sign(share) * Math.sqrt(Math.abs(share)), theme);
}

/** RGBA of a square map; cells above the diagonal stay empty. */
export function pixels(kind: MapKind, map: HeadMap, tokens: number, theme: Theme): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(4 * tokens * tokens);
  const colours = table(kind, theme);
  const scale = map.largest > 0 ? 1 / map.largest : 0;
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      const share = map.values[inTriangle(query, key)]! * scale;
      const from = 3 * (STEPS + Math.round(Math.sign(share) * Math.sqrt(Math.min(Math.abs(share), 1)) * STEPS));
      const to = 4 * (query * tokens + key);
      rgba[to] = colours[from]!;
      rgba[to + 1] = colours[from + 1]!;
      rgba[to + 2] = colours[from + 2]!;
      rgba[to + 3] = 255;
    }
  }
  return rgba;
}

/** Steps of the colours on each side of 0: more than are told apart. */
const STEPS = 255;
const tables = new Map<string, Uint8Array>();

/** The colours of roots from −1 to 1, since a map has many cells. */
function table(kind: MapKind, theme: Theme): Uint8Array {
  const name = `${kind} ${theme.dark}`;
  const kept = tables.get(name);
  if (kept) return kept;
  const made = new Uint8Array(3 * (2 * STEPS + 1));
  for (let i = -STEPS; i <= STEPS; i++) {
    const root = i / STEPS;
    made.set(kind === "pattern" ? sequential(Math.max(root, 0)) : diverging(root, theme), 3 * (i + STEPS));
  }
  tables.set(name, made);
  return made;
}

/** A colour scale with its ends. */
export function legend(pen: Pen, kind: MapKind, x: number, y: number, width: number, ends: [string, string], theme: Theme, words: [string, string] | null = null): void {
  const steps = 64;
  for (let i = 0; i < steps; i++) {
    const share = i / (steps - 1);
    const fill = kind === "pattern" ? sequential(Math.sqrt(share)) : diverging(Math.sign(share - 0.5) * Math.sqrt(Math.abs(2 * share - 1)), theme);
    pen.rect(x + (i * width) / steps, y, width / steps + 0.5, 8, css(fill));
  }
  pen.text(x, y + 17, ends[0], { size: 11, fill: theme.dim });
  pen.text(x + width, y + 17, ends[1], { size: 11, fill: theme.dim, anchor: "end" });
  if (!words) return;
  pen.text(x, y + 31, words[0], { size: 11, fill: theme.dim });
  pen.text(x + width, y + 31, words[1], { size: 11, fill: theme.dim, anchor: "end" });
}
