// All heads as a grid, layers down and heads across: a colour for a norm, or the map itself, small.

import { Canvas } from "../parts";
import type { Picture } from "../export";
import type { MapKind, Maps } from "../payload";
import { colour, legend, pixels } from "../maps";
import { say, select, selection } from "../state";
import { css, theme } from "../theme";
import { short } from "../text";
import type { HeadScore, ModelShape } from "../types";

const LEFT = 34;
const TOP = 20;
const BOTTOM = 34;

export interface GridOptions {
  kind: MapKind;
  shape: ModelShape;
  heads: HeadScore[];
  width: number;
  /** Draws these instead of norms. */
  maps?: Maps | null;
}

function normOf(kind: MapKind, score: HeadScore | undefined): number | undefined {
  return kind === "reversed" ? score?.reversed_norm : score?.pattern_norm;
}

export function gridPicture({ kind, shape, heads, width, maps }: GridOptions): Picture & { cell: number } {
  const most = maps ? 104 : 46;
  const cell = Math.max(6, Math.min(most, (width - LEFT - 4) / shape.n_head));
  const colours = theme();
  const byHead = new Map(heads.map((score) => [`${score.layer}.${score.head}`, score]));
  const largest = heads.reduce((most, score) => Math.max(most, normOf(kind, score) ?? 0), 0);
  const gap = cell > 14 ? 2 : cell > 9 ? 1 : 0.5;
  return {
    cell,
    width: LEFT + cell * shape.n_head + 4,
    height: TOP + cell * shape.n_layer + (maps ? 6 : BOTTOM),
    title: kind === "reversed" ? "Norms of Reversed Attention by head" : "Norms of attention by head",
    draw(pen) {
      const every = cell < 14 ? 5 : 1;
      for (let head = 0; head < shape.n_head; head += every) {
        pen.text(LEFT + (head + 0.5) * cell, 10, `H${head}`, { size: 10, fill: colours.dim, anchor: "middle" });
      }
      for (let layer = 0; layer < shape.n_layer; layer++) {
        if (layer % every === 0) {
          pen.text(LEFT - 6, TOP + (layer + 0.5) * cell, `L${layer}`, { size: 10, fill: colours.dim, anchor: "end" });
        }
        for (let head = 0; head < shape.n_head; head++) {
          const [x, y] = [LEFT + head * cell, TOP + layer * cell];
          const map = maps?.get(kind, layer, head);
          if (map && maps) {
            const n = maps.manifest.tokens;
            pen.frame(x + 0.5, y + 0.5, cell - gap - 1, cell - gap - 1, colours.line, 1);
            pen.cells(x + 1, y + 1, cell - gap - 2, cell - gap - 2, n, n, pixels(kind, map, n, colours));
            continue;
          }
          const norm = normOf(kind, byHead.get(`${layer}.${head}`));
          if (norm === undefined) continue;
          // ‖R‖ has no sign: both grids are shaded from nothing to the largest.
          pen.rect(x, y, cell - gap, cell - gap, css(colour("pattern", norm, largest, colours)));
        }
      }
      if (!maps) {
        const y = TOP + cell * shape.n_layer + 6;
        const symbol = kind === "reversed" ? "‖R‖" : "‖A‖";
        legend(pen, "pattern", LEFT, y, Math.min(180, Math.max(cell * shape.n_head - gap, 90)), ["0", `${symbol} ${short(largest)}`], colours);
      }
    },
  };
}

/** The grid on the page: click or arrow keys choose a head, Enter opens it. */
export function HeadGrid(options: GridOptions & { label: string; onOpen: () => void }) {
  const { shape, kind } = options;
  const { layer, head } = selection.value;
  const base = gridPicture(options);
  const colours = theme();
  const picture: Picture = {
    ...base,
    draw(pen) {
      base.draw(pen);
      pen.frame(LEFT + head * base.cell - 1, TOP + layer * base.cell - 1, base.cell, base.cell, colours.accent, 2.5);
    },
  };
  const score = (layer: number, head: number) => options.heads.find((s) => s.layer === layer && s.head === head);
  const describe = (layer: number, head: number) => {
    const norm = normOf(kind, score(layer, head));
    return `layer ${layer} head ${head}${norm === undefined ? "" : `, norm ${short(norm)}`}`;
  };
  const choose = (layer: number, head: number, open: boolean) => {
    say(describe(layer, head));
    select({ layer, head, cell: "" });
    if (open) options.onOpen();
  };
  const at = (x: number, y: number): [number, number] | null => {
    const [column, row] = [Math.floor((x - LEFT) / base.cell), Math.floor((y - TOP) / base.cell)];
    return column >= 0 && column < shape.n_head && row >= 0 && row < shape.n_layer ? [row, column] : null;
  };
  return (
    <div class="scroll">
      <Canvas
        picture={picture}
        label={`${options.label}. Arrow keys choose a head, Enter opens it. Chosen: ${describe(layer, head)}.`}
        onClick={(x, y) => {
          const found = at(x, y);
          if (found) choose(found[0], found[1], true);
        }}
        onKey={(event) => {
          const step: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
          const by = step[event.key];
          if (event.key === "Enter") options.onOpen();
          else if (by) {
            const clamp = (value: number, size: number) => Math.min(Math.max(value, 0), size - 1);
            choose(clamp(layer + by[0], shape.n_layer), clamp(head + by[1], shape.n_head), false);
          } else return;
          event.preventDefault();
        }}
      />
    </div>
  );
}
