// Colours of the drawings. The page's own are CSS variables in style.css; these are for canvases and exports.

import { signal } from "@preact/signals";

export interface Theme {
  dark: boolean;
  background: string;
  text: string;
  dim: string;
  line: string;
  accent: string;
  /** Of a diverging scale, where nothing happens. */
  neutral: [number, number, number];
}

const LIGHT: Theme = {
  dark: false, background: "#ffffff", text: "#1b2430", dim: "#5a6675", line: "#d3d9e0", accent: "#0b57c2",
  neutral: [247, 247, 247],
};
const DARK: Theme = {
  dark: true, background: "#14181e", text: "#e6eaf0", dim: "#a3afbd", line: "#36404c", accent: "#7db4ff",
  neutral: [38, 44, 52],
};

const prefers = matchMedia("(prefers-color-scheme: dark)");
/** What the reader chose; `null` follows the system. */
export const chosenTheme = signal<"light" | "dark" | null>(stored());
const system = signal(prefers.matches);
prefers.addEventListener("change", (event) => { system.value = event.matches; });

function stored(): "light" | "dark" | null {
  try {
    const kept = localStorage.getItem("retrograd-theme");
    return kept === "light" || kept === "dark" ? kept : null;
  } catch {
    return null; // files opened from disk may have no storage
  }
}

export function theme(): Theme {
  const dark = chosenTheme.value === null ? system.value : chosenTheme.value === "dark";
  return dark ? DARK : LIGHT;
}

export function chooseTheme(dark: boolean): void {
  chosenTheme.value = dark ? "dark" : "light";
  try {
    localStorage.setItem("retrograd-theme", dark ? "dark" : "light");
  } catch { /* nowhere to keep it */ }
}

type Rgb = [number, number, number];

/** Viridis at eleven places; between them colours are mixed. */
const VIRIDIS: Rgb[] = [
  [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
];
/** Lowers the loss: blue. Raises it: orange. Told apart by every kind of colour vision. */
const LOWERS: Rgb[] = [[146, 197, 222], [67, 147, 195], [18, 84, 156]];
const RAISES: Rgb[] = [[253, 190, 120], [230, 120, 40], [166, 61, 3]];
const LOWERS_DARK: Rgb[] = [[38, 84, 124], [58, 134, 196], [140, 205, 255]];
const RAISES_DARK: Rgb[] = [[112, 62, 22], [214, 118, 44], [255, 190, 120]];

function mix(stops: Rgb[], at: number): Rgb {
  const place = Math.min(Math.max(at, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [stops[low]!, stops[low + 1]!];
  const part = place - low;
  return [0, 1, 2].map((i) => Math.round(a[i]! + (b[i]! - a[i]!) * part)) as Rgb;
}

/** A share from 0 to 1. */
export function sequential(share: number): Rgb {
  return mix(VIRIDIS, share);
}

/** A share from −1 to 1. */
export function diverging(share: number, theme: Theme): Rgb {
  const side = share < 0 ? (theme.dark ? LOWERS_DARK : LOWERS) : theme.dark ? RAISES_DARK : RAISES;
  return mix([theme.neutral, ...side], Math.abs(share));
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r},${g},${b})`;
}

/** Black or white, whichever is read more easily on this. */
export function ink([r, g, b]: Rgb): string {
  const channel = (c: number) => { const x = c / 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; };
  const luminance = 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  return luminance > 0.18 ? "#000000" : "#ffffff";
}
