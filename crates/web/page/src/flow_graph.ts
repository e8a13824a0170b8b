// The flow graph as it is drawn: places come with the document, so that nothing is laid out here.

import type { Flow, FlowLink, FlowNode } from "./types";
import { inText } from "./flow_search";

export interface Link { link: FlowLink; from: number; to: number; width: number; /** Share of the links that are weaker. */ rank: number }

export interface Box { x: number; y: number; width: number; height: number }

/** Radius of a node, in the graph's units. */
export const RADIUS = 6;

const STREAMS = new Set(["block_input", "residual_mid", "block_output", "attention_input", "mlp_input", "qkv"]);

/** A link's width in the graph's units: weights span from 0.05 to the norms of a residual stream. */
function width(weight: number): number {
  return 0.4 + 2 * Math.log1p(Math.max(weight, 0));
}

export class Graph {
  readonly nodes: FlowNode[];
  readonly links: Link[] = [];
  readonly index = new Map<string, number>();
  readonly out: Link[][];
  readonly in: Link[][];
  readonly box: Box;
  readonly largestInner: number;
  readonly largestReversed: number;
  /** Node indices of each column, by x and then by y. */
  private readonly columns: { x: number; nodes: number[] }[];

  constructor(readonly flow: Flow) {
    this.nodes = flow.nodes;
    this.nodes.forEach((node, i) => this.index.set(node.id, i));
    this.out = this.nodes.map(() => []);
    this.in = this.nodes.map(() => []);
    const order = flow.links.map((_, i) => i).sort((a, b) => flow.links[a]!.weight - flow.links[b]!.weight);
    const rank = new Float64Array(order.length);
    order.forEach((link, i) => { rank[link] = order.length > 1 ? i / (order.length - 1) : 1; });
    flow.links.forEach((link, i) => {
      const [from, to] = [this.index.get(link.source), this.index.get(link.target)];
      if (from === undefined || to === undefined) return;
      const drawn = { link, from, to, width: width(link.weight), rank: rank[i]! };
      this.links.push(drawn);
      this.out[from]!.push(drawn);
      this.in[to]!.push(drawn);
    });
    for (const list of [...this.out, ...this.in]) list.sort((a, b) => b.link.weight - a.link.weight);
    const byX = new Map<number, number[]>();
    this.nodes.forEach((node, i) => {
      const column = byX.get(node.x);
      if (column) column.push(i);
      else byX.set(node.x, [i]);
    });
    this.columns = [...byX].sort((a, b) => a[0] - b[0]).map(([x, nodes]) => ({
      x, nodes: nodes.sort((a, b) => this.nodes[a]!.y - this.nodes[b]!.y),
    }));
    this.box = this.boxOf(this.nodes);
    // The streams, in which everything adds up, would leave the rest without colour.
    const parts = this.nodes.filter((node) => !STREAMS.has(node.kind));
    this.largestInner = parts.reduce((most, node) => Math.max(most, Math.abs(node.gradient?.inner ?? 0)), 0);
    this.largestReversed = flow.links.reduce((most, link) => Math.max(most, Math.abs(link.reversed ?? 0)), 0);
  }

  private boxOf(nodes: FlowNode[]): Box {
    const [xs, ys] = [nodes.map((n) => n.x), nodes.map((n) => n.y)];
    const min = (list: number[]) => list.reduce((a, b) => Math.min(a, b), Infinity);
    const max = (list: number[]) => list.reduce((a, b) => Math.max(a, b), -Infinity);
    if (nodes.length === 0) return { x: 0, y: 0, width: 1, height: 1 };
    const [x, y] = [min(xs) - 40, min(ys) - 56];
    return { x, y, width: max(xs) + 150 - x, height: max(ys) + 30 - y };
  }

  /** What a layer takes; all layers for −1. */
  boxOfLayer(layer: number): Box {
    return layer < 0 ? this.box : this.boxOf(this.nodes.filter((node) => node.layer === layer));
  }

  /** The node nearest to a place within `reach`, or −1. */
  at(x: number, y: number, reach: number): number {
    let [best, distance] = [-1, reach];
    let low = 0;
    let high = this.columns.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.columns[middle]!.x < x - reach) low = middle + 1;
      else high = middle;
    }
    for (let c = low; c < this.columns.length && this.columns[c]!.x <= x + reach; c++) {
      for (const i of this.columns[c]!.nodes) {
        const node = this.nodes[i]!;
        const d = Math.hypot(node.x - x, node.y - y);
        if (d < distance) [best, distance] = [i, d];
      }
    }
    return best;
  }

  /** The next node of the same column. */
  beside(i: number, step: number): number {
    const column = this.columns.find((c) => c.x === this.nodes[i]!.x);
    const place = column ? column.nodes.indexOf(i) + step : -1;
    return column?.nodes[place] ?? i;
  }

  /** The strongest way into a node and the strongest way out of it, as links. */
  path(i: number): Set<Link> {
    const path = new Set<Link>();
    for (const [links, end] of [[this.in, "from"], [this.out, "to"]] as const) {
      let [node, steps] = [i, 0];
      while (links[node]!.length > 0 && steps++ < 4000) {
        const link = links[node]![0]!;
        if (path.has(link)) break;
        path.add(link);
        node = link[end];
      }
    }
    return path;
  }

  /** Nodes that read as a text, in the order of the pass. */
  find(text: string): number[] {
    if (text === "") return [];
    return this.nodes.flatMap((node, i) => (inText(node, text) ? [i] : []));
  }
}
