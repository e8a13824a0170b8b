// Drawing the flow graph: one function for the screen, for SVG and for PNG.

import type { Box, Graph, Link } from "./flow_graph";
import { RADIUS } from "./flow_graph";
import { CanvasPen, FONT, type Pen } from "./pen";
import { css, diverging, type Theme } from "./theme";
import { label } from "./text";
import type { FlowNode } from "./types";

export interface Look {
  theme: Theme;
  colour: "forward" | "backward";
  /** Links whose rank is below this are left out. */
  least: number;
  labels: string[];
  target: string | null;
}

export interface Camera { k: number; x: number; y: number }

type Group = "stream" | "attention" | "mlp" | "negative" | "bias";

/** Okabe and Ito's colours, told apart by every kind of colour vision; darker and lighter for the two themes. */
const GROUPS: Record<Group, { light: string; dark: string; name: string }> = {
  stream: { light: "#4d5b6b", dark: "#b6c2cf", name: "residual stream, LayerNorms, sums" },
  attention: { light: "#0072b2", dark: "#56b4e9", name: "attention" },
  mlp: { light: "#00805e", dark: "#3ad1a5", name: "MLP" },
  negative: { light: "#b34a00", dark: "#ff9d5c", name: "negative activation" },
  bias: { light: "#8a5a86", dark: "#e79fc8", name: "bias" },
};

export function groupOf(node: FlowNode): Group {
  if (node.bottom_first) return "negative";
  switch (node.kind) {
    case "block_input": case "attention_input": case "residual_mid": case "mlp_input": case "block_output": return "stream";
    case "attention_output": case "mlp_output": return "stream";
    case "neuron_key": case "neuron_value": return "mlp";
    case "projection_bias": case "mlp_key_bias": case "mlp_bias": return "bias";
    default: return "attention";
  }
}

export function legendOf(look: Look): { colour: string; text: string }[] {
  if (look.colour === "forward") {
    return Object.values(GROUPS).map((group) => ({ colour: look.theme.dark ? group.dark : group.light, text: group.name }));
  }
  return [
    { colour: css(diverging(-0.8, look.theme)), text: "lowers the loss" },
    { colour: css(diverging(0, look.theme)), text: "no effect" },
    { colour: css(diverging(0.8, look.theme)), text: "raises the loss" },
  ];
}

function shareOf(x: number, largest: number): number {
  return largest > 0 ? Math.sign(x) * Math.sqrt(Math.abs(x) / largest) : 0;
}

export function colourOf(graph: Graph, node: FlowNode, look: Look): string {
  if (look.colour === "backward") return css(diverging(shareOf(node.gradient?.inner ?? 0, graph.largestInner), look.theme));
  const group = GROUPS[groupOf(node)];
  return look.theme.dark ? group.dark : group.light;
}

function linkColour(graph: Graph, link: Link, look: Look): string {
  if (look.colour === "backward") {
    if (link.link.reversed === undefined) return look.theme.dark ? "#5a6673" : "#b3bcc6";
    return css(diverging(shareOf(link.link.reversed, graph.largestReversed), look.theme));
  }
  const { kind } = link.link;
  const node = graph.nodes[kind === "write" || kind === "neuron" ? link.from : link.to]!;
  const group: Group = kind === "stream" || kind === "residual" || kind === "layer_norm" ? "stream" : groupOf(node);
  return look.theme.dark ? GROUPS[group].dark : GROUPS[group].light;
}

/** What stands beside a node: what it attends to, or what it reads as. */
export function caption(node: FlowNode, labels: string[]): string {
  if (node.kind === "key") return `${labels[node.position ?? -1] ?? ""} (${node.position})`;
  if (node.kind === "query" || node.kind === "head_output") return `H${node.head} ${label(node.top[0])}`;
  if (node.kind === "qkv") return "q k v";
  return label((node.bottom_first ? node.bottom : node.top)[0]);
}

function isStream(node: FlowNode): boolean {
  return node.kind === "block_input" || node.kind === "residual_mid" || node.kind === "block_output";
}

/** From the end of a line of blocks to the beginning of the next, through the gap between them. */
function wrap(pen: Pen, [x1, y1]: [number, number], [x2, y2]: [number, number], k: number, colour: string, width: number): void {
  const between = y2 - 150 * k;
  pen.line([[x1, y1], [x1 + 60 * k, y1], [x1 + 60 * k, between], [x2 - 60 * k, between], [x2 - 60 * k, y2], [x2, y2]], colour, width, [6 * Math.max(k, 0.4), 4 * Math.max(k, 0.4)]);
}

function sees(camera: Camera, width: number, height: number): Box {
  return { x: -camera.x / camera.k, y: -camera.y / camera.k, width: width / camera.k, height: height / camera.k };
}

/** Draws what is in a window of `width` × `height` pixels. `only` draws these links and their ends, strongly. */
export function draw(pen: Pen, graph: Graph, camera: Camera, width: number, height: number, look: Look, only?: Set<Link>): void {
  const { k } = camera;
  const seen = sees(camera, width, height);
  const inside = (x1: number, y1: number, x2: number, y2: number) =>
    Math.max(x1, x2) >= seen.x - 20 && Math.min(x1, x2) <= seen.x + seen.width + 20 &&
    Math.max(y1, y2) >= seen.y - 20 && Math.min(y1, y2) <= seen.y + seen.height + 20;
  const X = (x: number) => x * k + camera.x;
  const Y = (y: number) => y * k + camera.y;
  const nodes = new Set<number>();
  const visibleLinks = only ? [...only] : graph.links.filter((link) => link.rank >= look.least);
  const canvas = pen instanceof CanvasPen ? pen.context : null;
  const batches = new Map<string, { colour: string; width: number; links: Link[] }>();
  for (const link of visibleLinks) {
    const [a, b] = [graph.nodes[link.from]!, graph.nodes[link.to]!];
    if (!inside(a.x, a.y, b.x, b.y)) continue;
    if (only) nodes.add(link.from).add(link.to);
    const thick = Math.max(link.width * k, only ? 1.6 : 0.35);
    // Widths to a quarter of a pixel: links of one colour and width are one path.
    const rounded = Math.ceil(thick * 4) / 4;
    const colour = linkColour(graph, link, look);
    if (b.x < a.x) {
      wrap(pen, [X(a.x), Y(a.y)], [X(b.x), Y(b.y)], k, colour, Math.max(link.width * k * 0.5, only ? 1.6 : 0.6));
      continue;
    }
    const key = `${colour} ${rounded}`;
    const batch = batches.get(key);
    if (batch) batch.links.push(link);
    else batches.set(key, { colour, width: rounded, links: [link] });
  }
  const alpha = only ? 0.95 : look.theme.dark ? 0.62 : k < 0.2 ? 0.4 : 0.48;
  for (const { colour, width: thick, links } of batches.values()) {
    if (!canvas) {
      for (const link of links) {
        const [a, b] = [graph.nodes[link.from]!, graph.nodes[link.to]!];
        pen.curve(X(a.x), Y(a.y), X(b.x), Y(b.y), colour, thick, alpha);
      }
      continue;
    }
    canvas.globalAlpha = alpha;
    canvas.strokeStyle = colour;
    canvas.lineWidth = thick;
    canvas.beginPath();
    for (const link of links) {
      const [a, b] = [graph.nodes[link.from]!, graph.nodes[link.to]!];
      const [x1, y1, x2, y2] = [X(a.x), Y(a.y), X(b.x), Y(b.y)];
      canvas.moveTo(x1, y1);
      // From afar a curve is not told from a line.
      if (k < 0.12) canvas.lineTo(x2, y2);
      else canvas.bezierCurveTo((x1 + x2) / 2, y1, (x1 + x2) / 2, y2, x2, y2);
    }
    canvas.stroke();
    canvas.globalAlpha = 1;
  }
  const radius = Math.min(Math.max(RADIUS * k, 1.5), 9);
  const named = k >= 0.42;
  const shown: FlowNode[] = [];
  graph.nodes.forEach((node, i) => {
    if (only && !nodes.has(i)) return;
    if (!inside(node.x, node.y, node.x + 120, node.y)) return;
    shown.push(node);
    const stream = isStream(node);
    const target = look.target !== null && label(node.top[0]) === look.target;
    const fill = colourOf(graph, node, look);
    // Backwards, a node is as large as its effect.
    const effect = look.colour === "backward" ? 0.7 + 0.8 * Math.min(Math.abs(shareOf(node.gradient?.inner ?? 0, graph.largestInner)), 1) : 1;
    pen.disc(X(node.x), Y(node.y), (stream ? radius * 1.35 : radius) * effect, fill, target ? look.theme.text : look.theme.background, radius > 2.5 ? (target ? 2 : 1) : 0);
  });
  const streamNamed = k >= 0.14;
  if (!streamNamed && k < 0.05) return;
  const size = Math.min(Math.max(12 * k * 1.25, 9.5), 13);
  const room = Math.floor((150 * k - 2 * radius - 6) / (size * 0.56));
  if (canvas) canvas.font = `${size}px ${FONT}`;
  for (const node of shown) {
    const stream = isStream(node);
    if (!(stream ? streamNamed : named)) continue;
    const text = caption(node, look.labels);
    const letters = [...text];
    const most = stream ? Math.max(room * 2, 8) : room;
    if (most < 2) continue;
    const cut = letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
    if (stream) {
      // Next to each other, the end of a block and the beginning of the next lean away from each other.
      const anchor = node.kind === "block_input" ? "start" : node.kind === "block_output" ? "end" : "middle";
      pen.text(X(node.x), Y(node.y) - radius - 9, cut, { size: size + 0.5, fill: look.theme.text, anchor, bold: true });
    } else {
      pen.text(X(node.x) + radius + 4, Y(node.y), cut, { size, fill: look.theme.text });
    }
  }
  if (only) return;
  for (const layer of graph.flow.layers) {
    const first = graph.nodes.find((node) => node.layer === layer)!;
    if (inside(first.x, first.y - 40, first.x + 100, first.y)) {
      pen.text(X(first.x), Y(first.y) - radius - (streamNamed ? 27 : 8), `Layer ${layer}`, { size: Math.max(11, Math.min(16, 20 * k)), fill: look.theme.dim, bold: true });
    }
  }
}

/** A token's text for a message. */
export function spoken(node: FlowNode): string {
  const list = (node.bottom_first ? node.bottom : node.top).slice(0, 3).map(label);
  return list.length ? `${node.label}, ${node.bottom_first ? "writes against" : "reads as"} ${list.join(", ")}` : node.label;
}
