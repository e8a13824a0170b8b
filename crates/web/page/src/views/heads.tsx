// Attention and Reversed Attention of one head, side by side, and all heads as thumbnails.

import { useMemo, useState } from "preact/hooks";
import { Canvas, Choice, Figure, useWidth } from "../parts";
import type { Exports, Picture, Table } from "../export";
import { inTriangle, type HeadMap, type MapKind, type Payload } from "../payload";
import { legend, pixels } from "../maps";
import { labels, payload, say, select, selection, tokens } from "../state";
import { theme, type Theme } from "../theme";
import { effect, placed, short, signed } from "../text";
import { headTable, moved } from "./overview";
import { HeadGrid } from "./grid";

const RIGHT = 12;
const HEAD = 8;
const LEGEND = 48;

/** Pixels that the longest labels take, cut where they would crowd out the map. */
function margin(texts: string[]): number {
  return Math.min(130, 16 + 7 * texts.reduce((most, text) => Math.max(most, [...text].length), 0));
}

const cut = (text: string) => ([...text].length > 16 ? `${[...text].slice(0, 15).join("")}…` : text);

interface MapPicture extends Picture { cell: number; left: number; top: number }

let kept: { map: HeadMap; dark: boolean; rgba: Uint8ClampedArray<ArrayBuffer> }[] = [];

/** The pixels of a large map: the pointer's every step draws it again. */
function largePixels(kind: MapKind, map: HeadMap, n: number, colours: Theme): Uint8ClampedArray<ArrayBuffer> {
  const found = kept.find((k) => k.map === map && k.dark === colours.dark);
  if (found) return found.rgba;
  const rgba = pixels(kind, map, n, colours);
  kept = [{ map, dark: colours.dark, rgba }, ...kept.slice(0, 3)];
  return rgba;
}

function mapPicture(kind: MapKind, map: HeadMap, texts: string[], width: number, marked: [number, number] | null): MapPicture {
  const n = texts.length;
  const colours = theme();
  const left = margin(texts);
  const cell = Math.max(2, Math.min(76, (width - left - RIGHT) / n));
  const size = cell * n;
  const named = cell >= 9;
  const bottom = named ? margin(texts) : 10;
  const fewer = named ? 1 : Math.ceil(12 / cell);
  return {
    cell, left, top: HEAD, width: left + Math.max(size, 200) + RIGHT, height: HEAD + size + bottom + LEGEND,
    title: kind === "pattern" ? "Attention A" : "Reversed Attention R",
    draw(pen) {
      pen.rect(left, HEAD, size, size, colours.dark ? "#1a1f27" : "#f3f5f8");
      pen.cells(left, HEAD, size, size, n, n, largePixels(kind, map, n, colours));
      for (let i = 0; i < n; i += fewer) {
        const on = marked && (marked[0] === i || marked[1] === i);
        const fill = on ? colours.text : colours.dim;
        const text = cut(texts[i]!);
        pen.text(left - 6, HEAD + (i + 0.5) * cell, text, { size: 11, fill: marked?.[0] === i ? colours.text : colours.dim, anchor: "end", bold: marked?.[0] === i });
        if (named) pen.text(left + (i + 0.5) * cell, HEAD + size + 6, text, { size: 11, fill: marked?.[1] === i ? colours.text : fill, anchor: "end", rotate: -60, bold: marked?.[1] === i });
      }
      if (marked) {
        const [query, key] = marked;
        pen.frame(left - 1, HEAD + query * cell, size + 2, cell, colours.dim, 1);
        pen.frame(left + key * cell, HEAD - 1, cell, size + 2, colours.dim, 1);
        pen.frame(left + key * cell, HEAD + query * cell, cell, cell, colours.accent, 2);
      }
      const ends: [string, string] = kind === "pattern" ? ["0", short(map.largest)] : [`−${short(map.largest)}`, `+${short(map.largest)}`];
      const words: [string, string] | null = kind === "pattern" ? null : ["lowers the loss", "raises the loss"];
      legend(pen, kind, left, HEAD + size + bottom + 6, Math.min(Math.max(Math.min(size, 280), 200), width - left - 4), ends, colours, words);
    },
  };
}

/** Every entry of both maps, in the order of the prompt. */
function entries(pattern: HeadMap | null, reversed: HeadMap | null, strongest: boolean): Table {
  const names = tokens.value;
  const rows: Table["rows"] = [];
  for (let query = 0; query < names.length; query++) {
    for (let key = 0; key <= query; key++) {
      const at = inTriangle(query, key);
      rows.push([placed(names[query], query), placed(names[key], key), query, key, pattern?.values[at] ?? null, reversed?.values[at] ?? null]);
    }
  }
  if (strongest) rows.sort((a, b) => Math.abs(Number(b[5])) - Math.abs(Number(a[5])));
  return { columns: ["query", "key", "query position", "key position", "A", "R"], rows };
}

export function headsExports(source: Payload): Exports {
  const { layer, head } = selection.value;
  const maps = source.maps;
  const pattern = maps?.get("pattern", layer, head) ?? null;
  const reversed = maps?.get("reversed", layer, head) ?? null;
  return {
    name: `retrograd-L${layer}H${head}`,
    picture: () => {
      const pictures = [pattern && mapPicture("pattern", pattern, labels.value, 560, null), reversed && mapPicture("reversed", reversed, labels.value, 560, null)]
        .filter((p) => p !== null);
      const colours = theme();
      return {
        width: pictures.reduce((sum, p) => sum + p.width + 20, 0),
        height: Math.max(...pictures.map((p) => p.height)) + 28,
        title: `L${layer}H${head}`,
        draw(pen) {
          let left = 0;
          for (const picture of pictures) {
            pen.text(left + picture.left, 14, `L${layer}H${head} · ${picture.title}`, { size: 14, bold: true, fill: colours.text });
            picture.draw(moved(pen, left, 28));
            left += picture.width + 20;
          }
        },
      };
    },
    table: () => entries(pattern, reversed, false),
    document: () => {
      const square = (map: HeadMap | null) => map && labels.value.map((_, query) =>
        labels.value.map((_, key) => (key <= query ? map.values[inTriangle(query, key)]! : 0)));
      return {
        model: source.document.shape.name, tokens: tokens.value, layer, head, exact: pattern?.exact ?? false,
        pattern: square(pattern), reversed: square(reversed),
      };
    },
  };
}

function parseCell(cell: string, n: number): [number, number] | null {
  const [query, key] = cell.split(".").map(Number);
  return query !== undefined && key !== undefined && key >= 0 && key <= query && query < n ? [query, key] : null;
}

export function Heads() {
  const source = payload.value!;
  const { shape, attention, full_precision } = source.document;
  const { layer, head, map: thumbnails, cell } = selection.value;
  const [hover, setHover] = useState<[number, number] | null>(null);
  const [ref, width] = useWidth();
  const maps = source.maps;
  const n = tokens.value.length;
  // All heads are not drawn again for each cell that the pointer is at.
  const grid = useMemo(() => width > 0 && maps && (
    <HeadGrid kind={thumbnails} shape={shape} heads={attention?.heads ?? []} width={width} maps={maps} label={`Maps of ${thumbnails === "reversed" ? "Reversed Attention" : "attention"}`} onOpen={() => scrollTo({ top: 0 })} />
  ), [source, thumbnails, width, theme()]);
  if (!maps || !maps.has(layer)) {
    return <p class="empty">This file holds no attention maps of layer {layer}. Write it again without <code>--layers</code>, or with <code>--views heads</code>.</p>;
  }
  const pattern = maps.get("pattern", layer, head)!;
  const reversed = maps.get("reversed", layer, head)!;
  const chosen = parseCell(cell, n);
  const marked = hover ?? chosen;
  const [a, r] = marked ? [pattern, reversed].map((m) => m.values[inTriangle(...marked)]!) : [];
  const about = pattern.exact ? "" : "≈";
  const score = attention?.heads.find((s) => s.layer === layer && s.head === head);
  const side = width > 980 ? (width - 24) / 2 : width;
  const large = (kind: MapKind, map: HeadMap) => {
    const picture = mapPicture(kind, map, labels.value, Math.min(side, 660), marked);
    const at = (x: number, y: number): [number, number] | null => {
      const [key, query] = [Math.floor((x - picture.left) / picture.cell), Math.floor((y - picture.top) / picture.cell)];
      return key >= 0 && key <= query && query < n ? [query, key] : null;
    };
    const pin = (found: [number, number] | null) => {
      select({ cell: found ? found.join(".") : "" });
      if (found) say(`${placed(tokens.value[found[0]], found[0])} attends to ${placed(tokens.value[found[1]], found[1])}: A ${short(pattern.values[inTriangle(...found)]!)}, R ${signed(reversed.values[inTriangle(...found)]!)}`);
    };
    return (
      <div class="scroll">
        <Canvas
          picture={picture}
          label={`${picture.title} of layer ${layer} head ${head}, ${n} by ${n} tokens. Arrow keys move between cells.`}
          describedBy="cell-readout"
          onMove={(x, y) => setHover(at(x, y))}
          onLeave={() => setHover(null)}
          onClick={(x, y) => pin(at(x, y))}
          onKey={(event) => {
            const step: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
            const by = step[event.key];
            if (event.key === "Escape") pin(null);
            else if (by) {
              const [q, k] = chosen ?? [n - 1, 0];
              const query = Math.min(Math.max(q + by[0], 0), n - 1);
              pin([query, Math.min(Math.max(k + by[1], 0), query)]);
            } else return;
            event.preventDefault();
          }}
        />
      </div>
    );
  };
  return (
    <div class="view">
      <div ref={ref}>
        <div class="figure-head">
          <h2>L{layer}H{head} {score && <small>‖R‖ {short(score.reversed_norm)}{score.pattern_norm !== undefined && <>, ‖A‖ {short(score.pattern_norm)}</>}</small>}</h2>
          <p id="cell-readout" class="readout" aria-live="off">
            {marked
              ? <><bdi>{placed(tokens.value[marked[0]], marked[0])}</bdi> → <bdi>{placed(tokens.value[marked[1]], marked[1])}</bdi> <b>A {about}{short(a!)}</b> <b class={r! > 0 ? "raises" : "lowers"}>R {about}{signed(r!)}</b> {r !== 0 && <em>more attention here {effect(r!)}</em>}</>
              : <span class="dim">Point at a cell: rows are queries, columns the keys they attend to.</span>}
          </p>
        </div>
        {!pattern.exact && <p class="about">Values to 8 bits{full_precision && <>; in full precision in <code>{full_precision}</code></>}.</p>}
        <div class={width > 980 ? "two" : "one"}>
          <Figure title="Attention A" table={() => entries(pattern, reversed, false)}>{width > 0 && large("pattern", pattern)}</Figure>
          <Figure title="Reversed Attention R" table={() => entries(pattern, reversed, true)}>{width > 0 && large("reversed", reversed)}</Figure>
        </div>
      </div>
      <Figure
        title="All heads"
        tools={<Choice name="Map of the thumbnails" value={thumbnails} options={[["reversed", "R"], ["pattern", "A"]]} onChange={(map) => select({ map })} />}
        table={() => headTable(attention?.heads ?? [])}
        onRow={(row) => { const s = attention!.heads[row]!; select({ layer: s.layer, head: s.head, cell: "" }); }}
      >
        {grid}
      </Figure>
    </div>
  );
}
