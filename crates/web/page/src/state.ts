// What is shown and what is selected. The selection is the URL's hash: a link reproduces the view, and going back in
// the browser's history takes a selection back.

import { computed, signal } from "@preact/signals";
import * as address from "./address";
import type { Payload } from "./payload";
import { label } from "./text";

export type View = "overview" | "heads" | "lens" | "flow" | "try";

export interface Selection {
  view: View;
  /** The position that readings are of. */
  position: number;
  layer: number;
  head: number;
  /** A cell of the head's maps that was clicked. */
  cell: string;
  /** What the heads' thumbnails show. */
  map: "reversed" | "pattern";
  site: string;
  /** What the lens's cells are shaded by. */
  shade: "norm" | "rank" | "probability" | "entropy";
  /** The node of the graph whose path is pinned. */
  node: string;
  /** A token to find in the graph. */
  find: string;
  /** Share of the links that is left out, the weakest first: 0 to 100. */
  least: number;
  /** The graph's layer that fills the screen; −1 shows all. */
  focus: number;
  colour: "forward" | "backward";
  /** Of the server: what is run. */
  prompt: string;
  target: string;
  /** Of the Try view. */
  ablate: string;
  alpha: number;
  patch: "none" | "reversed" | "forward";
  eta: number;
  edit: number;
  /** 1 where the fact is edited in. */
  shift: number;
}

export const EMPTY: Selection = {
  view: "overview", position: -1, layer: -1, head: -1, cell: "", map: "reversed", site: "", shade: "norm", node: "", find: "",
  least: 0, focus: -1, colour: "forward", prompt: "", target: "", ablate: "", alpha: -1, patch: "none", eta: 0, edit: -1, shift: 0,
};

export const payload = signal<Payload | null>(null);
export const selection = signal<Selection>(EMPTY);
/** What assistive technology is told about the last action. */
export const announcement = signal("");
/** How many selections can be taken back. */
export const undoable = signal(0);

/** What the page begins with; differs from EMPTY by what the document has. */
let initial: Selection = EMPTY;

export function toHash(of: Selection): string {
  const pairs = new URLSearchParams();
  for (const key of Object.keys(EMPTY) as (keyof Selection)[]) {
    if (of[key] !== initial[key] || key === "view") pairs.set(key, String(of[key]));
  }
  return `#${pairs}`;
}

function fromHash(hash: string): Selection {
  const pairs = new URLSearchParams(hash.replace(/^#/, ""));
  const read: Record<string, string | number> = { ...initial };
  for (const [key, value] of pairs) {
    const known = (EMPTY as unknown as Record<string, string | number>)[key];
    if (typeof known === "number") {
      const number = Number(value);
      if (value !== "" && Number.isFinite(number)) read[key] = number;
    } else if (typeof known === "string") read[key] = value;
  }
  return valid(read as unknown as Selection);
}

/** A hash may come from anywhere: what the document does not have falls back to what it begins with. */
function valid(wanted: Selection): Selection {
  const document = payload.value?.document;
  const within = (value: number, size: number, otherwise: number) =>
    Number.isInteger(value) && value >= 0 && value < size ? value : otherwise;
  const of = <K extends keyof Selection>(key: K, list: readonly Selection[K][]) =>
    list.includes(wanted[key]) ? wanted[key] : initial[key];
  const shape = document?.shape;
  return {
    ...wanted,
    view: of("view", ["overview", "heads", "lens", "flow", "try"]),
    map: of("map", ["reversed", "pattern"]),
    shade: of("shade", ["norm", "rank", "probability", "entropy"]),
    colour: of("colour", ["forward", "backward"]),
    patch: of("patch", ["none", "reversed", "forward"]),
    position: within(wanted.position, document?.summary.tokens.length ?? 0, initial.position),
    layer: within(wanted.layer, shape?.n_layer ?? 0, initial.layer),
    head: within(wanted.head, shape?.n_head ?? 0, initial.head),
    site: document?.lens?.entries.some((entry) => entry.site === wanted.site) ? wanted.site : initial.site,
    node: document?.flow?.nodes.some((node) => node.id === wanted.node) ? wanted.node : "",
    focus: document?.flow?.layers.includes(wanted.focus) ? wanted.focus : -1,
    least: Math.min(Math.max(wanted.least, 0), 100),
    edit: within(wanted.edit, shape?.n_layer ?? 0, initial.edit),
    shift: wanted.shift === 1 ? 1 : 0,
  };
}

/** Takes over a new document; keeps what can be kept of the selection. */
export function show(next: Payload, keep: boolean): void {
  const kept = selection.value;
  payload.value = next;
  const { document } = next;
  const last = document.summary.objective.positions.at(-1) ?? document.summary.tokens.length - 1;
  const strongest = document.attention?.heads[0];
  initial = {
    ...EMPTY,
    view: document.view as View,
    position: document.flow?.position ?? last,
    layer: strongest?.layer ?? 0,
    head: strongest?.head ?? 0,
    // δ of the MLP's output is what the Backward Lens is about.
    site: (document.lens?.entries.find((entry) => entry.site === "mlp.c_proj.delta") ?? document.lens?.entries.at(-1))?.site ?? "",
    edit: document.shape.n_layer - 1,
    eta: 0.1,
  };
  selection.value = keep ? valid({ ...kept, position: -1 }) : fromHash(address.hash());
  address.replace(toHash(selection.value), null);
}

export function before(): void {
  selection.value = fromHash(address.hash());
}

/** Changes the selection. What comes in a stream, such as a slider's values, replaces the last step. */
export function select(change: Partial<Selection>, stream = false): void {
  const next = valid({ ...selection.value, ...change });
  const hash = toHash(next);
  if (hash === address.hash()) return void (selection.value = next);
  selection.value = next;
  if (stream) address.replace(hash);
  else {
    undoable.value += 1;
    address.push(hash, undoable.value);
  }
}

export function undo(): void {
  if (undoable.value > 0) address.back();
}

address.onReturn((step) => {
  undoable.value = step;
  selection.value = fromHash(address.hash());
});
// A link that was typed or pasted into a page that is open.
addEventListener("hashchange", () => { selection.value = fromHash(address.hash()); });

export function say(text: string): void {
  announcement.value = text;
}

export const tokens = computed(() => payload.value?.document.summary.tokens ?? []);
export const labels = computed(() => tokens.value.map(label));
