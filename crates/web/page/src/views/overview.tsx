// What the model answers, and where the backward pass went.

import { Bars, DataTable, Figure, TokenText, useWidth } from "../parts";
import type { Exports, Table } from "../export";
import { inTriangle, type Payload } from "../payload";
import { payload, select, selection, tokens } from "../state";
import { retarget } from "../server";
import { count, effect, percent, placed, short } from "../text";
import { theme } from "../theme";
import type { HeadScore } from "../types";
import { gridPicture, HeadGrid } from "./grid";

export function headTable(heads: HeadScore[]): Table {
  return {
    columns: ["head", "layer", "head in layer", "‖R‖", "‖A‖"],
    rows: heads.map((s) => [`L${s.layer}H${s.head}`, s.layer, s.head, s.reversed_norm, s.pattern_norm]),
  };
}

/** The pair of tokens at which R is largest. */
function strongestPair(source: Payload, head: HeadScore): { query: number; key: number; value: number } | null {
  const map = source.maps?.get("reversed", head.layer, head.head);
  if (!map) return null;
  let [best, value] = [-1, 0];
  map.values.forEach((x, i) => { if (Math.abs(x) > Math.abs(value)) [best, value] = [i, x]; });
  if (best < 0) return null;
  const query = Math.floor((Math.sqrt(8 * best + 1) - 1) / 2);
  return { query, key: best - inTriangle(query, 0), value };
}

export function overviewExports(source: Payload): Exports {
  const { document } = source;
  const heads = document.attention?.heads ?? [];
  return {
    name: "retrograd-overview",
    picture: () => {
      const both = (["reversed", "pattern"] as const).map((kind) => gridPicture({ kind, shape: document.shape, heads, width: 560 }));
      const colours = theme();
      return {
        width: both[0]!.width + both[1]!.width + 24,
        height: both[0]!.height + 24,
        title: `Heads of ${document.shape.name}`,
        draw(pen) {
          let left = 0;
          both.forEach((picture, i) => {
            pen.text(left + 34, 12, i === 0 ? "‖R‖, Reversed Attention" : "‖A‖, attention", { fill: colours.text, size: 13, bold: true });
            picture.draw(moved(pen, left, 24));
            left += picture.width + 24;
          });
        },
      };
    },
    table: () => headTable(heads),
    document: () => ({ summary: document.summary, attention: document.attention }),
  };
}

import type { Pen } from "../pen";

/** The same pen, elsewhere. */
export function moved(pen: Pen, dx: number, dy: number): Pen {
  return {
    rect: (x, y, w, h, fill) => pen.rect(x + dx, y + dy, w, h, fill),
    frame: (x, y, w, h, stroke, width) => pen.frame(x + dx, y + dy, w, h, stroke, width),
    line: (points, stroke, width, dash) => pen.line(points.map(([x, y]) => [x + dx, y + dy]), stroke, width, dash),
    curve: (x1, y1, x2, y2, ...rest) => pen.curve(x1 + dx, y1 + dy, x2 + dx, y2 + dy, ...rest),
    disc: (x, y, ...rest) => pen.disc(x + dx, y + dy, ...rest),
    text: (x, y, ...rest) => pen.text(x + dx, y + dy, ...rest),
    cells: (x, y, ...rest) => pen.cells(x + dx, y + dy, ...rest),
  };
}

export function Overview() {
  const source = payload.value!;
  const { summary, attention, shape, changed } = source.document;
  const { position } = selection.value;
  const [ref, width] = useWidth();
  const at = summary.predictions.find((p) => p.position === position) ?? summary.predictions.at(-1);
  const heads = attention?.heads ?? [];
  const open = () => select({ view: "heads" });
  const wide = width > 1100 ? (width - 24) / 2 : width;
  return (
    <div class="view">
      <div class="columns">
        <section aria-label="Prediction" class="panel">
          <h2>Prediction{at && <small> after <TokenText token={tokens.value[at.position]} /> ({at.position})</small>}</h2>
          {at && <Bars list={at.top} mark={at.target?.id ?? summary.target?.id} onPick={retarget()} caption="The most probable next tokens" />}
          <dl class="facts">
            <dt>loss</dt><dd title={String(summary.loss)}>{summary.loss.toFixed(4)}</dd>
            {summary.target && <>
              <dt>target</dt>
              <dd><TokenText token={summary.target} /> with {percent(summary.target.probability)}, rank {count(summary.target.rank)}</dd>
            </>}
            {summary.minus && <><dt>compared with</dt><dd><TokenText token={summary.minus} /> with {percent(summary.minus.probability)}</dd></>}
            {changed && changed.ablate.length > 0 && <><dt>ablated</dt><dd>{changed.ablate.join(", ")}</dd></>}
            {changed?.patch && <><dt>patched</dt><dd>{changed.patch}</dd></>}
          </dl>
        </section>
        <section aria-label="Strongest heads" class="panel">
          <h2>Strongest heads <small>where the loss is most sensitive to who attends to whom</small></h2>
          <table class="plain">
            <thead><tr><th scope="col">head</th><th scope="col" class="number">‖R‖</th><th scope="col">largest entry: query ← key</th></tr></thead>
            <tbody>
              {heads.slice(0, 8).map((score) => {
                const pair = strongestPair(source, score);
                return (
                  <tr key={`${score.layer}.${score.head}`}>
                    <td><button class="link" onClick={() => select({ view: "heads", layer: score.layer, head: score.head, cell: pair ? `${pair.query}.${pair.key}` : "" })}>L{score.layer}H{score.head}</button></td>
                    <td class="number" title={String(score.reversed_norm)}>{short(score.reversed_norm)}</td>
                    <td>{pair && <><bdi>{placed(tokens.value[pair.query], pair.query)}</bdi> ← <bdi>{placed(tokens.value[pair.key], pair.key)}</bdi> <em class={pair.value > 0 ? "raises" : "lowers"}>{effect(pair.value)}</em></>}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </section>
      </div>
      <div ref={ref} class={width > 1100 ? "two" : "one"}>
        {width > 0 && (["reversed", "pattern"] as const).map((kind) => (
          <Figure
            key={kind}
            title={kind === "reversed" ? "‖R‖ by head" : "‖A‖ by head"}
            about={kind === "reversed"
              ? "Reversed Attention R = ∂L/∂(q·kᵀ): how much the loss depends on what the head attends to."
              : "Attention A of the forward pass; a norm is large where few keys get all of it."}
            table={() => headTable(heads)}
            onRow={(row) => { const s = heads[row]!; select({ view: "heads", layer: s.layer, head: s.head, cell: "" }); }}
          >
            <HeadGrid kind={kind} shape={shape} heads={heads} width={wide} label={kind === "reversed" ? "Norms of Reversed Attention" : "Norms of attention"} onOpen={open} />
          </Figure>
        ))}
      </div>
      {summary.layers.length > 0 && (
        <section aria-label="Backward signal by layer" class="panel">
          <h2>Backward signal <small>‖δ‖ at the output of each linear layer, and on the residual stream</small></h2>
          <DataTable
            caption="Norms of the backward signal by layer"
            table={{
              columns: ["layer", ...Object.keys(summary.layers[0]!.delta_norms)],
              rows: summary.layers.map((l) => [`L${l.layer}`, ...Object.keys(summary.layers[0]!.delta_norms).map((k) => l.delta_norms[k] ?? null)]),
            }}
          />
        </section>
      )}
    </div>
  );
}
