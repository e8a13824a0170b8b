// Change the forward pass, or the model, and look at what it does: before and after next to each other.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Bars, Canvas, Figure, useWidth } from "../parts";
import type { Exports, Picture } from "../export";
import { pixels } from "../maps";
import type { MapKind, Payload } from "../payload";
import { lastRun, progress, run, type RunRequest } from "../server";
import { labels, payload, select, selection } from "../state";
import { css, diverging, theme } from "../theme";
import { count, percent, short, signed } from "../text";
import { TokenText } from "../parts";
import { moved } from "./overview";

/** The pass after the change; belongs to one document before it. */
const changed = signal<{ before: Payload; after: Payload; what: string } | null>(null);

function heads(text: string): string[] {
  return text.split(",").filter((head) => head !== "");
}

/** The change that the selection describes; `null` when it describes none. */
function change(): { request: Partial<RunRequest>; what: string } | null {
  const { ablate, patch, alpha, eta, edit, shift } = selection.value;
  const request: Partial<RunRequest> = {};
  const words: string[] = [];
  const silenced = heads(ablate);
  if (silenced.length > 0) {
    request.ablate = silenced;
    words.push(`without ${silenced.map((h) => `L${h.replace(".", "H")}`).join(", ")}`);
  }
  if (patch !== "none") {
    request.patch = { map: patch, alpha };
    words.push(`attention + ${alpha} × ${patch === "reversed" ? "R" : "A"}`);
  }
  if (shift === 1) {
    request.edit = { layer: edit, eta };
    words.push(`shifted in layer ${edit} by ${eta}`);
  }
  return words.length > 0 ? { request, what: words.join("; ") } : null;
}

async function compare(): Promise<void> {
  const before = payload.value;
  const wanted = change();
  if (!before || !wanted || !lastRun.value) return;
  // The same target as before, also where that was the model's answer.
  const target = before.document.summary.target;
  const base: RunRequest = { ...lastRun.value };
  if (target) {
    delete base.target;
    base.target_id = target.id;
  }
  const after = await run({ ...base, ...wanted.request, views: ["overview", "heads"] });
  if (after) changed.value = { before, after, what: wanted.what };
}

const SMALL = 30;

function ablationPicture(): Picture & { cell: number } {
  const { shape, attention } = payload.value!.document;
  const silenced = new Set(heads(selection.value.ablate));
  const colours = theme();
  const cell = Math.max(9, Math.min(SMALL, 520 / shape.n_head));
  const largest = attention?.heads[0]?.reversed_norm ?? 0;
  return {
    cell, width: 34 + cell * shape.n_head + 4, height: 20 + cell * shape.n_layer + 4, title: "Heads",
    draw(pen) {
      for (let head = 0; head < shape.n_head; head += cell < 14 ? 5 : 1) pen.text(34 + (head + 0.5) * cell, 10, `H${head}`, { size: 10, fill: colours.dim, anchor: "middle" });
      for (let layer = 0; layer < shape.n_layer; layer++) {
        if (layer % (cell < 14 ? 5 : 1) === 0) pen.text(28, 20 + (layer + 0.5) * cell, `L${layer}`, { size: 10, fill: colours.dim, anchor: "end" });
        for (let head = 0; head < shape.n_head; head++) {
          const [x, y] = [34 + head * cell, 20 + layer * cell];
          const score = attention?.heads.find((s) => s.layer === layer && s.head === head);
          pen.rect(x, y, cell - 2, cell - 2, css(diverging(largest > 0 ? -0.85 * Math.sqrt((score?.reversed_norm ?? 0) / largest) : 0, colours)));
          if (silenced.has(`${layer}.${head}`)) {
            pen.rect(x, y, cell - 2, cell - 2, colours.dark ? "#000000" : "#1b2430");
            pen.line([[x + 4, y + 4], [x + cell - 6, y + cell - 6]], "#ffffff", 2);
            pen.line([[x + cell - 6, y + 4], [x + 4, y + cell - 6]], "#ffffff", 2);
          }
        }
      }
    },
  };
}

function AblationGrid() {
  const { shape } = payload.value!.document;
  const { layer, head, ablate } = selection.value;
  const base = ablationPicture();
  const colours = theme();
  const toggle = (layer: number, head: number) => {
    const name = `${layer}.${head}`;
    const list = heads(ablate);
    select({ layer, head, ablate: (list.includes(name) ? list.filter((h) => h !== name) : [...list, name]).join(",") });
  };
  return (
    <div class="scroll">
      <Canvas
        picture={{ ...base, draw(pen) {
          base.draw(pen);
          pen.frame(33 + head * base.cell, 19 + layer * base.cell, base.cell, base.cell, colours.accent, 2);
        } }}
        label={`Heads to silence. Arrow keys choose, Enter or the space bar silences. Silenced: ${ablate || "none"}. Chosen: layer ${layer} head ${head}.`}
        onClick={(x, y) => {
          const [h, l] = [Math.floor((x - 34) / base.cell), Math.floor((y - 20) / base.cell)];
          if (h >= 0 && h < shape.n_head && l >= 0 && l < shape.n_layer) toggle(l, h);
        }}
        onKey={(event) => {
          const step: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
          const by = step[event.key];
          if (event.key === "Enter" || event.key === " ") toggle(layer, head);
          else if (by) select({ layer: Math.min(Math.max(layer + by[0], 0), shape.n_layer - 1), head: Math.min(Math.max(head + by[1], 0), shape.n_head - 1) }, true);
          else return;
          event.preventDefault();
        }}
      />
    </div>
  );
}

function mapsPicture(before: Payload, after: Payload, kind: MapKind, width: number): Picture {
  const { layer, head } = selection.value;
  const pair = [before, after].map((p) => p.maps?.get(kind, layer, head) ?? null);
  const n = labels.value.length;
  const size = Math.min((width - 90 - 20) / 2, 300);
  const cell = size / n;
  const colours = theme();
  // One scale for both, so that they can be compared.
  const largest = Math.max(...pair.map((m) => m?.largest ?? 0));
  return {
    width: 90 + 2 * size + 20, height: size + 26, title: `${kind === "pattern" ? "A" : "R"} of L${layer}H${head}, before and after`,
    draw(pen) {
      pair.forEach((map, i) => {
        const left = 90 + i * (size + 20);
        pen.text(left, 10, `${i === 0 ? "before" : "after"}${map ? `, largest ${short(map.largest)}` : ""}`, { size: 11.5, fill: colours.dim });
        pen.rect(left, 22, size, size, colours.dark ? "#1a1f27" : "#f3f5f8");
        if (map) pen.cells(left, 22, size, size, n, n, pixels(kind, { ...map, largest }, n, colours));
      });
      if (cell >= 9) labels.value.forEach((text, i) => pen.text(84, 22 + (i + 0.5) * cell, [...text].slice(0, 12).join(""), { size: 11, fill: colours.dim, anchor: "end" }));
    },
  };
}

export function tryExports(): Exports {
  const result = changed.value;
  const both = result ? [result.before, result.after] : [payload.value!];
  return {
    name: "retrograd-try",
    picture: () => {
      if (!result) return ablationPicture();
      const pictures = (["pattern", "reversed"] as const).map((kind) => mapsPicture(result.before, result.after, kind, 700));
      return {
        width: pictures[0]!.width, height: pictures[0]!.height + pictures[1]!.height + 60, title: result.what,
        draw(pen) {
          let top = 0;
          for (const picture of pictures) {
            pen.text(90, top + 14, picture.title, { size: 13, bold: true, fill: theme().text });
            picture.draw(moved(pen, 0, top + 28));
            top += picture.height + 30;
          }
        },
      };
    },
    table: () => ({
      columns: ["pass", "position", "rank", "token", "id", "probability"],
      rows: both.flatMap((p, i) => p.document.summary.predictions.flatMap((at) => at.top.map((t, rank) => [i === 0 ? "before" : "after", at.position, rank, t.text, t.id, t.probability]))),
    }),
    document: () => ({ what: result?.what ?? null, before: both[0]?.document.summary, after: result?.after.document.summary ?? null }),
  };
}

function Side({ name, source }: { name: string; source: Payload }) {
  const { summary } = source.document;
  const at = summary.predictions.at(-1);
  return (
    <section class="panel" aria-label={`Prediction ${name}`}>
      <h3>{name}</h3>
      {at && <Bars list={at.top} mark={summary.target?.id} caption={`Predictions ${name}`} />}
      <dl class="facts">
        <dt>loss</dt><dd title={String(summary.loss)} data-value={summary.loss}>{summary.loss.toFixed(4)}</dd>
        {summary.target && <><dt>target</dt><dd data-value={summary.target.probability}><TokenText token={summary.target} /> with {percent(summary.target.probability)}, rank {count(summary.target.rank)}</dd></>}
      </dl>
    </section>
  );
}

export function Try() {
  const source = payload.value!;
  const { shape } = source.document;
  const { ablate, patch, alpha, eta, edit, shift, layer, head } = selection.value;
  const [ref, width] = useWidth();
  const wanted = change();
  const result = changed.value?.before === source ? changed.value : null;
  useEffect(() => { if (!result && change() && lastRun.value) void compare(); }, [source]);
  const busy = progress.value !== "";
  return (
    <div class="view" ref={ref}>
      <div class="columns three">
        <Figure
          title="Silence heads" about="Click a head: its rows of the output matrix count as zero. Bluer heads have more Reversed Attention."
          table={() => ({ columns: ["head", "‖R‖", "silenced"], rows: (source.document.attention?.heads ?? []).map((s) => [`L${s.layer}H${s.head}`, s.reversed_norm, heads(ablate).includes(`${s.layer}.${s.head}`) ? "silenced" : "speaks"]) })}
          onRow={(row) => { const s = source.document.attention!.heads[row]!; const name = `${s.layer}.${s.head}`; const list = heads(ablate); select({ ablate: (list.includes(name) ? list.filter((h) => h !== name) : [...list, name]).join(",") }); }}
          tools={<button class="quiet" disabled={ablate === ""} onClick={() => select({ ablate: "" })}>None</button>}
        ><AblationGrid /></Figure>
        <section class="panel" aria-label="Patch attention">
          <h3>Patch attention</h3>
          <p class="about">Adds α times a map of this very pass to every head's attention. With R, a negative α lowers the loss.</p>
          <label class="row">map <select value={patch} onChange={(event) => select({ patch: event.currentTarget.value as typeof patch })}>
            <option value="none">none</option><option value="reversed">R, Reversed Attention</option><option value="forward">A, attention</option>
          </select></label>
          <label class="row">α <input type="range" min="-60" max="20" step="0.5" value={alpha} disabled={patch === "none"} onInput={(event) => select({ alpha: Number(event.currentTarget.value) }, true)} /></label>
          <label class="row">exactly <input type="number" step="any" value={alpha} disabled={patch === "none"} onInput={(event) => { const a = event.currentTarget.valueAsNumber; if (Number.isFinite(a)) select({ alpha: a }, true); }} /></label>
        </section>
        <section class="panel" aria-label="Edit the fact">
          <h3>Edit the fact</h3>
          <p class="about">A forward pass shift writes the target's embedding into one MLP: W₂ ← W₂ + η·x·E[target]. The model is put back afterwards.</p>
          <label class="row"><input type="checkbox" checked={shift === 1} onChange={(event) => select({ shift: event.currentTarget.checked ? 1 : 0 })} /> edit in the target {source.document.summary.target && <TokenText token={source.document.summary.target} />}</label>
          <label class="row">layer <select value={String(edit)} onChange={(event) => select({ edit: Number(event.currentTarget.value) })}>
            {Array.from({ length: shape.n_layer }, (_, l) => <option key={l} value={String(l)}>{l}</option>)}
          </select></label>
          <label class="row">η <input type="number" step="any" value={eta} onInput={(event) => { const x = event.currentTarget.valueAsNumber; if (Number.isFinite(x)) select({ eta: x }, true); }} /></label>
        </section>
      </div>
      <div class="bar-of-tools">
        <button class="primary" disabled={!wanted || busy} onClick={() => void compare()}>Compare</button>
        <span class="dim" role="status">{busy ? progress.value : wanted ? wanted.what : "choose what to change"}</span>
      </div>
      {result && (
        <>
          <h2>Before and after <small>{result.what}</small></h2>
          <p class="about">
            Loss {result.before.document.summary.loss.toFixed(4)} → {result.after.document.summary.loss.toFixed(4)} ({signed(result.after.document.summary.loss - result.before.document.summary.loss)}).
          </p>
          <div class="two"><Side name="before" source={result.before} /><Side name="after" source={result.after} /></div>
          <div class={width > 980 ? "two" : "one"}>
            {width > 0 && (["pattern", "reversed"] as const).map((kind) => (
              <Figure key={kind} title={`${kind === "pattern" ? "Attention A" : "Reversed Attention R"} of L${layer}H${head}`} about="both in one colour scale; choose the head above" table={() => normTable(result.before, result.after)}>
                <Canvas picture={mapsPicture(result.before, result.after, kind, Math.min(width > 980 ? (width - 24) / 2 : width, 760))} label={`Maps of layer ${layer} head ${head} before and after; the table has every head's norms`} />
              </Figure>
            ))}
          </div>
        </>
      )}
    </div>
  );
}

function normTable(before: Payload, after: Payload) {
  const later = new Map((after.document.attention?.heads ?? []).map((s) => [`${s.layer}.${s.head}`, s]));
  return {
    columns: ["head", "‖A‖ before", "‖A‖ after", "‖R‖ before", "‖R‖ after"],
    rows: (before.document.attention?.heads ?? []).map((s) => {
      const other = later.get(`${s.layer}.${s.head}`);
      return [`L${s.layer}H${s.head}`, s.pattern_norm, other?.pattern_norm, s.reversed_norm, other?.reversed_norm];
    }),
  };
}
