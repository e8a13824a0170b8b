// Tokens and numbers as a person reads them; the same forms as in the command's own pages.

import type { Token } from "./types";

const REORDERS = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/** A text with its blanks visible and nothing in it that would reorder what stands around it. */
export function visible(text: string): string {
  let shown = "";
  for (const c of text) {
    if (c === " ") shown += "␣";
    else if (c === "\n") shown += "↵";
    else if (c === "\t") shown += "⇥";
    else if (c < " " || (c >= "\u007f" && c < "\u00a0") || REORDERS.test(c)) {
      shown += `\\u{${c.codePointAt(0)!.toString(16)}}`;
    } else shown += c;
  }
  return shown === "" ? "∅" : shown;
}

/** A token's text; its number where there is no text, or none that can be told from others: a part of a character. */
export function label(token: Token | undefined): string {
  if (!token) return "";
  return token.text === null || /^\ufffd+$/.test(token.text) ? `#${token.id}` : visible(token.text);
}

/** `␣France (3)` */
export function placed(token: Token | undefined, position: number): string {
  return `${label(token)} (${position})`;
}

/** Three significant digits. */
export function short(x: number): string {
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size < 1e-4 || size >= 1e5) return x.toExponential(2).replace("e+", "e");
  return x.toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size)))));
}

export function signed(x: number): string {
  return (x > 0 ? "+" : x < 0 ? "−" : "") + short(Math.abs(x));
}

export function percent(p: number): string {
  if (p >= 0.9995 && p < 1) return `${Math.min(p * 100, 99.99).toFixed(2)}%`;
  if (p >= 0.001) return `${(p * 100).toFixed(1)}%`;
  return p === 0 ? "0%" : p.toExponential(1);
}

export function count(n: number): string {
  return n.toLocaleString("en-US");
}

/** What the sign of R, or of a node's inner product, means. */
export function effect(x: number): string {
  return x > 0 ? "raises the loss" : x < 0 ? "lowers the loss" : "no effect";
}
