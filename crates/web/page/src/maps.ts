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
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      const [r, g, b] = colour(kind, map.values[inTriangle(query, key)]!, map.largest, theme);
      rgba.set([r, g, b, 255], 4 * (query * tokens + key));
    }
  }
  return rgba;
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
