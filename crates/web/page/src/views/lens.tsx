// The Backward Lens: vectors of the pass read in the vocabulary, layer by layer and position by position.

import { scaleLinear, scaleLog } from "d3-scale";
import { useState } from "preact/hooks";
import { Canvas, Choice, Figure, TokenText, useWidth } from "../parts";
import type { Exports, Picture, Table } from "../export";
import { labels, payload, say, select, selection, tokens } from "../state";
import { css, ink, sequential, theme } from "../theme";
import { count, label, percent, placed, short } from "../text";
import type { Lens as LensReport, LensEntry } from "../types";

type Shade = "norm" | "rank" | "probability" | "entropy";

/** δ is what a step down the loss takes away: its least probable tokens are those that are written. */
export function backward(site: string): boolean {
  return site.endsWith(".delta");
}

function sites(lens: LensReport): string[] {
  return [...new Set(lens.entries.map((entry) => entry.site))];
}

function value(entry: LensEntry, shade: Shade): number | null {
  return { norm: entry.norm, rank: entry.target_rank, probability: entry.target_probability, entropy: entry.entropy_bits }[shade];
}

/** From 0 to 1 for the shade of a cell. */
function shares(entries: LensEntry[], shade: Shade, vocabulary: number): (entry: LensEntry) => number {
  if (shade === "rank") return (entry) => (entry.target_rank === null ? 0 : 1 - Math.log1p(entry.target_rank) / Math.log(vocabulary));
  if (shade === "entropy") return (entry) => 1 - entry.entropy_bits / Math.log2(vocabulary);
  const largest = Math.max(...entries.map((entry) => value(entry, shade) ?? 0), 1e-300);
  return (entry) => Math.sqrt((value(entry, shade) ?? 0) / largest);
}

function lensTable(entries: LensEntry[]): Table {
  const named = entries[0]?.top.length ?? 0;
  const list = (name: string) => Array.from({ length: named }, (_, i) => [`${name}${i + 1}`, `${name}${i + 1}_id`, `${name}${i + 1}_probability`]).flat();
  return {
    columns: ["site", "layer", "position", "token", "norm", "target_rank", "answer_rank", "target_probability", "entropy_bits", ...list("top"), ...list("bottom")],
    rows: entries.map((e) => [
      e.site, e.layer, e.position, tokens.value[e.position]?.text ?? null, e.norm, e.target_rank, e.answer_rank, e.target_probability, e.entropy_bits,
      ...[...e.top, ...e.bottom].flatMap((p) => [p.text, p.id, p.probability]),
    ]),
  };
}

const CELL_H = 26;

/** The table of a site, as a picture. */
function tablePicture(lens: LensReport, site: string, shade: Shade, vocabulary: number): Picture {
  const entries = lens.entries.filter((entry) => entry.site === site);
  const layers = [...new Set(entries.map((entry) => entry.layer))];
  const share = shares(entries, shade, vocabulary);
  const colours = theme();
  const cell = Math.max(70, Math.min(130, 1200 / Math.max(labels.value.length, 1)));
  const room = Math.floor(cell / 7.2);
  const fit = (text: string) => ([...text].length > room ? `${[...text].slice(0, room - 1).join("")}…` : text);
  return {
    width: 40 + cell * labels.value.length, height: 60 + CELL_H * layers.length, title: `${site} read in the vocabulary`,
    draw(pen) {
      pen.text(40, 14, `${site}: ${backward(site) ? "least" : "most"} probable token; shade: ${shade}`, { size: 13, bold: true, fill: colours.text });
      labels.value.forEach((text, i) => pen.text(40 + i * cell + 4, 40, fit(`${i} ${text}`), { size: 11, fill: colours.dim }));
      layers.forEach((layer, row) => {
        pen.text(32, 52 + (row + 0.5) * CELL_H, `L${layer}`, { size: 11, fill: colours.dim, anchor: "end" });
      });
      for (const entry of entries) {
        const [x, y] = [40 + entry.position * cell, 52 + layers.indexOf(entry.layer) * CELL_H];
        const fill = sequential(share(entry));
        pen.rect(x, y, cell - 1, CELL_H - 1, css(fill));
        const token = (backward(site) ? entry.bottom : entry.top)[0];
        pen.text(x + 4, y + CELL_H / 2, fit(label(token)), { size: 11.5, fill: ink(fill) });
      }
    },
  };
}

const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const SERIES_DARK = ["#56b4e9", "#ff9d5c", "#3ad1a5", "#e79fc8", "#f0c64a", "#9bd0f5"];

function curves(lens: LensReport, position: number, what: "rank" | "norm", width: number): Picture {
  const colours = theme();
  const palette = colours.dark ? SERIES_DARK : SERIES;
  const list = sites(lens).map((site) => ({
    site,
    points: lens.entries.filter((e) => e.site === site && e.position === position)
      .map((e) => [e.layer, what === "rank" ? (e.target_rank ?? 0) + 1 : e.norm] as [number, number]),
  }));
  const layers = lens.entries.map((e) => e.layer);
  const [first, last] = [Math.min(...layers), Math.max(...layers)];
  const [left, top, height] = [62, 14 + 18 * list.length, 240 + 18 * list.length];
  const bottom = height - 30;
  const values = list.flatMap((s) => s.points.map((p) => p[1])).filter((v) => v > 0);
  const most = Math.max(...values, what === "rank" ? 10 : 1e-12);
  const x = scaleLinear([first, Math.max(last, first + 1)], [left, width - 16]);
  // Norms of the stream and of δ are orders of magnitude apart: both scales are logarithmic.
  const least = what === "rank" ? 1 : Math.min(...values, most / 10);
  const y = what === "rank" ? scaleLog([1, most], [top, bottom]) : scaleLog([10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(most))], [bottom, top]);
  return {
    width, height, title: what === "rank" ? "Rank of the target by layer" : "Norm by layer",
    draw(pen) {
      const [low, high] = y.domain().map(Math.log10) as [number, number];
      const every = Math.max(1, Math.ceil((high - low) / 6));
      const tens = Array.from({ length: Math.round(high - low) + 1 }, (_, i) => i).filter((i) => i % every === 0);
      const ticks = what === "rank" ? [1, 11, 101, 1001, 10001].filter((t) => t <= most) : tens.map((i) => 10 ** Math.round(low + i));
      for (const tick of ticks) {
        pen.line([[left, y(tick)], [width - 16, y(tick)]], colours.line, 1);
        pen.text(left - 8, y(tick), what === "rank" ? count(tick - 1) : short(tick), { size: 11, fill: colours.dim, anchor: "end" });
      }
      const step = Math.max(1, Math.ceil((last - first + 1) / 16));
      for (let layer = first; layer <= last; layer += step) {
        pen.text(x(layer), height - 14, `L${layer}`, { size: 11, fill: colours.dim, anchor: "middle" });
      }
      list.forEach(({ site, points }, i) => {
        const colour = palette[i % palette.length]!;
        const dash = i % 2 ? [6, 3] : [];
        // A norm of 0 has no place on such a scale.
        const placed = points.filter(([, v]) => v > 0);
        if (placed.length > 1) pen.line(placed.map(([l, v]) => [x(l), y(v)]), colour, 2, dash);
        for (const [l, v] of placed) pen.disc(x(l), y(v), 3, colour, colours.background, 1);
        pen.line([[left, 12 + 18 * i], [left + 24, 12 + 18 * i]], colour, 2, dash);
        pen.text(left + 30, 12 + 18 * i, site, { size: 11.5, fill: colours.text });
      });
    },
  };
}

export function lensExports(): Exports {
  const document = payload.value!.document;
  const lens = document.lens!;
  const { site, shade, position } = selection.value;
  return {
    name: `retrograd-lens-${site}`,
    picture: () => {
      const table = tablePicture(lens, site, shade, document.shape.vocab_size);
      const rank = curves(lens, position, lens.target ? "rank" : "norm", 620);
      return {
        width: Math.max(table.width, rank.width), height: table.height + rank.height + 40, title: table.title,
        draw(pen) {
          table.draw(pen);
          const shifted = { ...moved(pen, 0, table.height + 40) };
          pen.text(40, table.height + 22, `${rank.title} at ${placed(tokens.value[position], position)}`, { size: 13, bold: true, fill: theme().text });
          rank.draw(shifted);
        },
      };
    },
    table: () => lensTable(lens.entries),
    document: () => lens,
  };
}

import { moved } from "./overview";

function Details({ entry, vocabulary }: { entry: LensEntry; vocabulary: number }) {
  const lists: [string, LensEntry["top"]][] = [["most probable", entry.top], ["least probable", entry.bottom]];
  if (backward(entry.site)) lists.reverse();
  return (
    <section class="panel" aria-label="Reading">
      <h3>L{entry.layer} at <bdi>{placed(tokens.value[entry.position], entry.position)}</bdi></h3>
      <dl class="facts">
        <dt>norm</dt><dd title={String(entry.norm)}>{short(entry.norm)}</dd>
        {entry.target_rank !== null && <><dt>target's rank</dt><dd>{count(entry.target_rank)} of {count(vocabulary)}</dd></>}
        {entry.target_probability !== null && <><dt>target's probability</dt><dd>{percent(entry.target_probability)}</dd></>}
        <dt>answer's rank</dt><dd>{count(entry.answer_rank)}</dd>
        <dt>entropy</dt><dd>{entry.entropy_bits.toFixed(2)} bits</dd>
      </dl>
      <div class="two">
        {lists.map(([name, list], i) => (
          <div key={name}>
            <h4>{name}{i === 0 && backward(entry.site) && <small> what a step down the loss writes</small>}</h4>
            <ol class="reading">{list.map((p) => <li key={p.id}><TokenText token={p} /> <span class="dim" title={String(p.probability)}>{percent(p.probability)}</span></li>)}</ol>
          </div>
        ))}
      </div>
    </section>
  );
}

export function Lens() {
  const { document } = payload.value!;
  const [ref, width] = useWidth();
  const [focus, setFocus] = useState<number | null>(null);
  const lens = document.lens;
  if (!lens || lens.entries.length === 0) {
    return <p class="empty">This file holds no lens. Write it again with <code>--views lens</code>, or with <code>retrograd lens --html</code>.</p>;
  }
  const { site, shade, position, layer } = selection.value;
  const all = sites(lens);
  const entries = lens.entries.filter((entry) => entry.site === site);
  const layers = [...new Set(entries.map((entry) => entry.layer))];
  const share = shares(entries, shade, document.shape.vocab_size);
  const current = entries.find((e) => e.layer === layer && e.position === position) ?? entries.find((e) => e.position === position)!;
  const rows = layers.map((l) => entries.filter((e) => e.layer === l));
  const move = (event: KeyboardEvent) => {
    const step: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const by = step[event.key];
    if (!by) return;
    event.preventDefault();
    const row = Math.min(Math.max(layers.indexOf(current.layer) + by[0], 0), layers.length - 1);
    const column = Math.min(Math.max(position + by[1], 0), tokens.value.length - 1);
    select({ layer: layers[row]!, position: column });
    setFocus(row * tokens.value.length + column);
    const entry = rows[row]![column]!;
    say(`layer ${entry.layer} position ${column}: ${label((backward(site) ? entry.bottom : entry.top)[0])}`);
  };
  return (
    <div class="view">
      <div class="bar-of-tools">
        <Choice name="Which vectors" value={site} options={all.map((s) => [s, s])} onChange={(site) => select({ site })} />
        <label>shade <select value={shade} onChange={(event) => select({ shade: event.currentTarget.value as Shade })}>
          <option value="norm">norm</option>
          {lens.target && <option value="rank">target's rank</option>}
          {lens.target && <option value="probability">target's probability</option>}
          <option value="entropy">certainty (entropy)</option>
        </select></label>
        {lens.normalized && <span class="dim">vectors of norm 1</span>}
      </div>
      <p class="about">{backward(site)
        ? "Each cell: the least probable token of δ, which is what a step down the loss writes. Brighter is more."
        : "Each cell: the most probable token of the vector. Brighter is more."}</p>
      <div class="scroll" role="region" aria-label={`${site}, layers by positions`} tabIndex={0}>
        <table class="lens" onKeyDown={move}>
          <caption class="hidden">{site}, layers down, positions across</caption>
          <thead><tr><th />{labels.value.map((text, i) => <th scope="col" key={i} class={i === position ? "on" : undefined}><span class="dim">{i}</span> <bdi>{text}</bdi></th>)}</tr></thead>
          <tbody>
            {rows.map((row, r) => (
              <tr key={layers[r]}>
                <th scope="row">L{layers[r]}</th>
                {row.map((entry) => {
                  const fill = sequential(share(entry));
                  const on = entry === current;
                  const id = r * tokens.value.length + entry.position;
                  return (
                    <td key={entry.position}>
                      <button
                        tabIndex={on ? 0 : -1}
                        ref={(element) => { if (element && focus === id) { element.focus(); setFocus(null); } }}
                        class={on ? "on" : undefined}
                        aria-pressed={on}
                        style={{ background: css(fill), color: ink(fill) }}
                        onClick={() => select({ layer: entry.layer, position: entry.position })}
                      ><TokenText token={(backward(site) ? entry.bottom : entry.top)[0]} /></button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="columns" >
        <Details entry={current} vocabulary={document.shape.vocab_size} />
        <div ref={ref} class="stack">
          {width > 0 && lens.target && (
            <Figure title="Rank of the target by layer" about={<>at <bdi>{placed(tokens.value[position], position)}</bdi>; 0 is the most probable, at the top</>} table={() => curveTable(lens, position, "rank")}>
              <Canvas picture={curves(lens, position, "rank", Math.min(width, 760))} label="Curves of the target's rank by layer; the table has the numbers" />
            </Figure>
          )}
          {width > 0 && (
            <Figure title="Norm by layer" table={() => curveTable(lens, position, "norm")}>
              <Canvas picture={curves(lens, position, "norm", Math.min(width, 760))} label="Curves of the norm by layer; the table has the numbers" />
            </Figure>
          )}
        </div>
      </div>
    </div>
  );
}

function curveTable(lens: LensReport, position: number, what: "rank" | "norm"): Table {
  const all = sites(lens);
  const layers = [...new Set(lens.entries.map((e) => e.layer))];
  return {
    columns: ["layer", ...all],
    rows: layers.map((layer) => [`L${layer}`, ...all.map((site) => {
      const entry = lens.entries.find((e) => e.site === site && e.layer === layer && e.position === position);
      return entry ? (what === "rank" ? entry.target_rank : entry.norm) : null;
    })]),
  };
}
