// The flow graph: zoom, pan, hover, pinned paths, search, layers.

import { select as d3select } from "d3-selection";
import "d3-zoom";
import { zoom as d3zoom, zoomIdentity, type ZoomBehavior, type ZoomTransform } from "d3-zoom";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Exports, Table } from "../export";
import { caption, colourOf, draw, legendOf, spoken, type Look } from "../flow_draw";
import { Graph, RADIUS, type Link } from "../flow_graph";
import { Choice, DataTable, TokenText, useWidth } from "../parts";
import { CanvasPen } from "../pen";
import { labels, payload, say, select, selection, tokens } from "../state";
import { effect, count, label, percent, placed, short, signed } from "../text";
import { theme } from "../theme";
import type { Flow as FlowReport, FlowNode } from "../types";

const graphs = new WeakMap<FlowReport, Graph>();

function graphOf(flow: FlowReport): Graph {
  const kept = graphs.get(flow);
  if (kept) return kept;
  const made = new Graph(flow);
  graphs.set(flow, made);
  return made;
}

function look(flow: FlowReport): Look {
  const { colour, least } = selection.value;
  return { theme: theme(), colour, least: least / 100, labels: labels.value, target: flow.target ? label(flow.target) : null };
}

function nodeTable(nodes: FlowNode[]): Table {
  return {
    columns: ["id", "kind", "layer", "head", "index", "position", "reads_as", "norm", "activation", "target_rank", "target_probability", "entropy_bits", "gradient_norm", "inner_product"],
    rows: nodes.map((n) => [
      n.id, n.kind, n.layer, n.head, n.index, n.position, (n.bottom_first ? "− " : "") + (n.bottom_first ? n.bottom : n.top).slice(0, 3).map(label).join(" "),
      n.norm, n.activation, n.target_rank, n.target_probability, n.entropy_bits, n.gradient?.norm, n.gradient?.inner,
    ]),
  };
}

export function flowExports(): Exports {
  const flow = payload.value!.document.flow!;
  const graph = graphOf(flow);
  return {
    name: "retrograd-flow",
    picture: () => {
      const box = graph.boxOfLayer(selection.value.focus);
      return {
        width: Math.ceil(box.width), height: Math.ceil(box.height), title: `Flow graph at ${placed(tokens.value[flow.position], flow.position)}`,
        draw(pen) {
          draw(pen, graph, { k: 1, x: -box.x, y: -box.y }, box.width, box.height, look(flow));
          const pinned = graph.index.get(selection.value.node);
          if (pinned !== undefined) draw(pen, graph, { k: 1, x: -box.x, y: -box.y }, box.width, box.height, look(flow), graph.path(pinned));
        },
      };
    },
    table: () => nodeTable(flow.nodes),
    document: () => flow,
  };
}

/** What is known about a node. */
function Card({ node, graph, full }: { node: FlowNode; graph: Graph; full: boolean }) {
  const list = (name: string, tokens: FlowNode["top"]) => tokens.length > 0 && (
    <div>
      <h4>{name}</h4>
      <ol class="reading">{tokens.slice(0, full ? 10 : 5).map((p) => <li key={p.id}><TokenText token={p} /> <span class="dim">{percent(p.probability)}</span></li>)}</ol>
    </div>
  );
  const lists = [list("most probable", node.top), list("least probable", node.bottom)];
  if (node.bottom_first) lists.reverse();
  const keys = graph.in[graph.index.get(node.id)!]!.filter((l) => l.link.attention !== undefined);
  return (
    <>
      <h3>{node.label}{node.position !== undefined && node.kind !== "query" && <small> at <bdi>{placed(tokens.value[node.position], node.position)}</bdi></small>}</h3>
      <dl class="facts">
        <dt>norm</dt><dd title={String(node.norm)}>{short(node.norm)}</dd>
        {node.activation !== undefined && <><dt>activation</dt><dd title={String(node.activation)}>{signed(node.activation)}{node.bottom_first && " — it writes against its row"}</dd></>}
        {node.gradient && <><dt>on the loss</dt><dd><b class={node.gradient.inner > 0 ? "raises" : "lowers"} title={String(node.gradient.inner)}>{signed(node.gradient.inner)}</b> {effect(node.gradient.inner)}</dd><dt>‖∂L/∂·‖</dt><dd title={String(node.gradient.norm)}>{short(node.gradient.norm)}</dd></>}
        {node.target_rank !== null && node.target_rank !== undefined && <><dt>target's rank</dt><dd>{count(node.target_rank)} <span class="dim">{percent(node.target_probability ?? 0)}</span></dd></>}
        {node.entropy_bits !== null && node.entropy_bits !== undefined && <><dt>entropy</dt><dd>{node.entropy_bits.toFixed(2)} bits</dd></>}
        {keys.slice(0, 4).map((l) => <><dt>from {graph.nodes[l.from]!.kind}</dt><dd>A {short(l.link.attention!)}{l.link.reversed !== undefined && <>, R <b class={l.link.reversed > 0 ? "raises" : "lowers"}>{signed(l.link.reversed)}</b> {effect(l.link.reversed)}</>}</dd></>)}
      </dl>
      <div class="two tight">{lists}</div>
    </>
  );
}

/** Milliseconds after the last movement before everything is drawn anew. */
const REST = 90;

/** Pixels above the graph for the names of the first layers, which are as large however far away the graph is. */
const HEADROOM = 30;

export function Flow() {
  const flow = payload.value!.document.flow;
  if (!flow || flow.nodes.length === 0) {
    return <p class="empty">This file holds no flow graph. Write it again with <code>--views flow</code>, or with <code>retrograd flow --html</code>.</p>;
  }
  return <FlowGraph flow={flow} />;
}

function FlowGraph({ flow }: { flow: FlowReport }) {
  const graph = useMemo(() => graphOf(flow), [flow]);
  const { node: pinnedId, find, least, focus, colour, position } = selection.value;
  const [ref, width] = useWidth();
  const height = Math.max(420, Math.min(760, Math.round(innerHeight * 0.68)));
  const base = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const camera = useRef<ZoomTransform>(zoomIdentity);
  const behaviour = useRef<ZoomBehavior<HTMLCanvasElement, unknown> | null>(null);
  const cache = useRef<{ canvas: HTMLCanvasElement; at: ZoomTransform } | null>(null);
  const timer = useRef(0);
  const frame = useRef(0);
  const hovered = useRef(-1);
  const [hover, setHover] = useState<{ node: number; x: number; y: number } | null>(null);
  const [asTable, setAsTable] = useState(false);
  const found = useMemo(() => graph.find(find), [graph, find]);
  const [place, setPlace] = useState(0);
  const pinned = graph.index.get(pinnedId);
  const path = useMemo(() => (pinned === undefined ? null : graph.path(pinned)), [graph, pinned]);
  const appearance = look(flow);
  const drawn = useRef({ appearance, pinned, path, found });
  drawn.current = { appearance, pinned, path, found };

  const dpr = devicePixelRatio || 1;

  /** Draws the window and half of it on each side into the cache. */
  const renew = () => {
    const [w, h] = [width * 2, height * 2];
    const kept = cache.current?.canvas ?? document.createElement("canvas");
    if (kept.width !== w * dpr || kept.height !== h * dpr) [kept.width, kept.height] = [w * dpr, h * dpr];
    const context = kept.getContext("2d", { alpha: false })!;
    context.setTransform(dpr, 0, 0, dpr, 0, 0);
    const pen = new CanvasPen(context);
    pen.rect(0, 0, w, h, drawn.current.appearance.theme.background);
    const at = camera.current;
    draw(pen, graph, { k: at.k, x: at.x + width / 2, y: at.y + height / 2 }, w, h, drawn.current.appearance);
    cache.current = { canvas: kept, at };
  };

  /** Puts the cache on the screen where the camera is now. */
  const paint = () => {
    const context = base.current?.getContext("2d", { alpha: false });
    if (!context || !cache.current || width === 0) return;
    const [now, then] = [camera.current, cache.current.at];
    const ratio = now.k / then.k;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = drawn.current.appearance.theme.background;
    context.fillRect(0, 0, width * dpr, height * dpr);
    const x = now.x - (then.x + width / 2) * ratio;
    const y = now.y - (then.y + height / 2) * ratio;
    context.drawImage(cache.current.canvas, x * dpr, y * dpr, width * 2 * ratio * dpr, height * 2 * ratio * dpr);
  };

  /** What is marked: the pinned path, what was found, what the pointer is at. */
  const mark = () => {
    const context = overlay.current?.getContext("2d");
    if (!context) return;
    const { appearance, pinned, path, found } = drawn.current;
    context.setTransform(dpr, 0, 0, dpr, 0, 0);
    context.clearRect(0, 0, width, height);
    const pen = new CanvasPen(context);
    const at = camera.current;
    const place = (i: number): [number, number] => [graph.nodes[i]!.x * at.k + at.x, graph.nodes[i]!.y * at.k + at.y];
    const active = hovered.current >= 0 ? hovered.current : pinned;
    if (path && hovered.current < 0) {
      context.fillStyle = appearance.theme.dark ? "rgba(20,24,30,.62)" : "rgba(255,255,255,.62)";
      context.fillRect(0, 0, width, height);
      draw(pen, graph, at, width, height, appearance, path);
    }
    if (active !== undefined) {
      const near = new Set<Link>([...graph.in[active]!, ...graph.out[active]!]);
      if (near.size > 0 && near.size < 200) draw(pen, graph, at, width, height, appearance, near);
    }
    const r = Math.min(Math.max(RADIUS * at.k, 2), 9) + 4;
    for (const i of found.slice(0, 2000)) {
      const [x, y] = place(i);
      if (x > -20 && x < width + 20) pen.disc(x, y, r, "rgba(0,0,0,0)", "#e69f00", 2.5);
    }
    if (active !== undefined) {
      const [x, y] = place(active);
      pen.disc(x, y, r, "rgba(0,0,0,0)", appearance.theme.accent, 2.5);
    }
  };

  const refresh = () => {
    const started = performance.now();
    renew();
    paint();
    mark();
    // For whoever measures; see benches/page.
    performance.measure("flow-redraw", { start: started });
  };

  const show = (box: { x: number; y: number; width: number; height: number }, most = 2) => {
    if (!overlay.current || !behaviour.current || width === 0) return;
    const room = height - HEADROOM;
    const k = Math.min(width / box.width, room / box.height, most);
    const [x, y] = [(width - box.width * k) / 2 - box.x * k, HEADROOM + (room - box.height * k) / 2 - box.y * k];
    d3select(overlay.current).call(behaviour.current.transform, zoomIdentity.translate(x, y).scale(k));
  };
  const reveal = (i: number) => {
    const node = graph.nodes[i]!;
    const at = camera.current;
    const [x, y] = [node.x * at.k + at.x, node.y * at.k + at.y];
    if (!overlay.current || !behaviour.current || (x > 40 && x < width - 120 && y > 30 && y < height - 20 && at.k > 0.3)) return mark();
    const k = Math.max(at.k, 0.6);
    d3select(overlay.current).call(behaviour.current.transform, zoomIdentity.translate(width / 2 - node.x * k, height / 2 - node.y * k).scale(k));
  };

  useLayoutEffect(() => {
    if (asTable || width === 0 || !overlay.current || !base.current) return;
    for (const canvas of [base.current, overlay.current]) [canvas.width, canvas.height] = [width * dpr, height * dpr];
    const least = Math.min(width / graph.box.width, height / graph.box.height, 0.5) * 0.8;
    const zoomed = d3zoom<HTMLCanvasElement, unknown>()
      .scaleExtent([least, 4])
      .filter((event: Event) => !(event as MouseEvent).button && (event.type !== "wheel" || !(event as WheelEvent).shiftKey))
      .on("zoom", (event: { transform: ZoomTransform }) => {
        camera.current = event.transform;
        if (!frame.current) {
          frame.current = requestAnimationFrame(() => {
            frame.current = 0;
            paint();
            mark();
          });
        }
        clearTimeout(timer.current);
        timer.current = window.setTimeout(refresh, REST);
      });
    behaviour.current = zoomed;
    d3select(overlay.current).call(zoomed).on("dblclick.zoom", null);
    show(graph.boxOfLayer(focus));
    refresh();
    const target = overlay.current;
    return () => {
      clearTimeout(timer.current);
      cancelAnimationFrame(frame.current);
      frame.current = 0;
      d3select(target).on(".zoom", null);
    };
  }, [graph, width, height, asTable]);

  // A view of one layer, or of all.
  const shownFocus = useRef(focus);
  useEffect(() => {
    if (shownFocus.current !== focus) {
      shownFocus.current = focus;
      show(graph.boxOfLayer(focus));
    }
  }, [focus]);
  useEffect(() => { if (width > 0 && !asTable) refresh(); }, [least, colour, appearance.theme]);
  useEffect(() => { if (width > 0 && !asTable) (pinned !== undefined ? reveal(pinned) : mark()); }, [pinned, found, width]);

  const pin = (i: number) => {
    const node = i < 0 ? undefined : graph.nodes[i];
    say(node ? spoken(node) : "nothing is pinned");
    select({ node: node?.id ?? "" });
  };
  const pointAt = (event: MouseEvent) => {
    const box = overlay.current!.getBoundingClientRect();
    const at = camera.current;
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const i = graph.at((px - at.x) / at.k, (py - at.y) / at.k, Math.max(14 / at.k, RADIUS));
    if (i !== hovered.current) {
      hovered.current = i;
      setHover(i < 0 ? null : { node: i, x: px, y: py });
      mark();
    }
    return i;
  };
  const key = (event: KeyboardEvent) => {
    const view = overlay.current!;
    const zoomed = behaviour.current!;
    const from = pinned ?? graph.nodes.findIndex((node) => node.layer === (focus >= 0 ? focus : flow.layers[0]));
    const moves: Record<string, () => void> = {
      ArrowRight: () => pin(pinned === undefined ? from : (graph.out[from]![0]?.to ?? from)),
      ArrowLeft: () => pin(pinned === undefined ? from : (graph.in[from]![0]?.from ?? from)),
      ArrowDown: () => pin(pinned === undefined ? from : graph.beside(from, 1)),
      ArrowUp: () => pin(pinned === undefined ? from : graph.beside(from, -1)),
      "+": () => d3select(view).call(zoomed.scaleBy, 1.4),
      "=": () => d3select(view).call(zoomed.scaleBy, 1.4),
      "-": () => d3select(view).call(zoomed.scaleBy, 1 / 1.4),
      "0": () => show(graph.boxOfLayer(focus)),
      Escape: () => pin(-1),
    };
    const move = moves[event.key];
    if (!move) return;
    move();
    event.preventDefault();
  };
  const next = (step: number) => {
    if (found.length === 0) return;
    const at = (place + step + found.length) % found.length;
    setPlace(at);
    pin(found[at]!);
  };
  const card = hover ? graph.nodes[hover.node]! : null;
  const cardLeft = hover && hover.x > width - 330 ? hover.x - 316 : (hover?.x ?? 0) + 16;
  const pinnedNode = pinned === undefined ? null : graph.nodes[pinned]!;
  const hasGradient = flow.nodes.some((node) => node.gradient);
  return (
    <div class="view">
      <div class="bar-of-tools">
        {hasGradient && <Choice name="Colours" value={colour} options={[["forward", "Forward"], ["backward", "Backward"]]} onChange={(colour) => select({ colour })} />}
        <label>layer <select value={String(focus)} onChange={(event) => select({ focus: Number(event.currentTarget.value) })}>
          <option value="-1">all {flow.layers.length}</option>
          {flow.layers.map((layer) => <option value={String(layer)} key={layer}>{layer}</option>)}
        </select></label>
        <label>leave out the weakest <input type="range" min="0" max="99" value={least} onInput={(event) => select({ least: Number(event.currentTarget.value) }, true)} /> <output>{least}%</output></label>
        <label class="find">find a token <input type="search" value={find} placeholder="Paris" onInput={(event) => { setPlace(-1); select({ find: event.currentTarget.value }, true); }}
          onKeyDown={(event) => { if (event.key === "Enter") next(event.shiftKey ? -1 : 1); }} /></label>
        {find !== "" && <span class="dim" role="status">{found.length === 0 ? "nowhere" : `${found.length} nodes`}{found.length > 0 && <> <button class="quiet" onClick={() => next(1)}>next</button></>}</span>}
        <span class="spring" />
        <button class="quiet" onClick={() => d3select(overlay.current!).call(behaviour.current!.scaleBy, 1.4)} disabled={asTable} aria-label="Zoom in">+</button>
        <button class="quiet" onClick={() => d3select(overlay.current!).call(behaviour.current!.scaleBy, 1 / 1.4)} disabled={asTable} aria-label="Zoom out">−</button>
        <button class="quiet" onClick={() => show(graph.boxOfLayer(focus))} disabled={asTable}>Fit</button>
        <button class="quiet" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>Table</button>
      </div>
      <p class="about">
        What flows through <bdi>{placed(tokens.value[flow.position], flow.position)}</bdi>: the residual stream on top, attention and MLP below. Each node reads as the token beside it; thickness is the link's weight.
        {flow.position !== position && <> The graph is of this position, whatever is chosen above.</>}
      </p>
      <ul class="legend">{legendOf(appearance).map((item) => <li key={item.text}><span style={{ background: item.colour }} />{item.text}</li>)}
        {flow.target && appearance.target !== null && <li><span class="ring" />reads as the target</li>}</ul>
      <div ref={ref} class="graph-frame">
        {asTable
          ? <DataTable caption="Nodes of the flow graph" table={nodeTable(flow.nodes)} onRow={(row) => pin(row)} />
          : width > 0 && (
            <div class="graph" style={{ height: `${height}px` }}>
              <canvas ref={base} style={{ width: `${width}px`, height: `${height}px` }} aria-hidden="true" />
              <canvas
                ref={overlay}
                class="overlay"
                style={{ width: `${width}px`, height: `${height}px` }}
                tabIndex={0}
                role="application"
                aria-label={`Flow graph of ${flow.nodes.length} nodes and ${flow.links.length} links. Right and left follow the strongest link, up and down go through a column, plus and minus zoom, 0 fits, Escape lets go.${pinnedNode ? ` Pinned: ${spoken(pinnedNode)}.` : ""}`}
                onMouseMove={pointAt}
                onMouseLeave={() => { hovered.current = -1; setHover(null); mark(); }}
                onClick={(event) => pin(pointAt(event))}
                onKeyDown={key}
              />
              {card && (
                <div class="card" style={{ left: `${cardLeft}px`, top: `${Math.max(6, Math.min(hover!.y - 30, height - 330))}px` }} aria-hidden="true">
                  <Card node={card} graph={graph} full={false} />
                </div>
              )}
            </div>
          )}
      </div>
      {pinnedNode && (
        <section class="panel" aria-label="Pinned node">
          <div class="figure-head"><span class="dim">pinned: the strongest way in and out is drawn</span><button class="quiet" onClick={() => pin(-1)}>Let go</button></div>
          <div class="columns">
            <div><Card node={pinnedNode} graph={graph} full /></div>
            <div class="two tight">
              {([["comes from", graph.in[pinned!]!, "from"], ["goes to", graph.out[pinned!]!, "to"]] as const).map(([title, links, end]) => (
                <div key={title}>
                  <h4>{title}</h4>
                  <ul class="ways">
                    {links.slice(0, 12).map((l) => {
                      const other = graph.nodes[l[end]]!;
                      return <li key={l.link.source + l.link.target}>
                        <span class="swatch" style={{ background: colourOf(graph, other, appearance) }} />
                        <button class="link" onClick={() => pin(l[end])}>{other.label}</button> <bdi class="token">{caption(other, labels.value)}</bdi> <span class="dim" title={String(l.link.weight)}>{short(l.link.weight)}</span>
                      </li>;
                    })}
                    {links.length > 12 && <li class="dim">and {links.length - 12} more</li>}
                  </ul>
                </div>
              ))}
            </div>
          </div>
        </section>
      )}
    </div>
  );
}
