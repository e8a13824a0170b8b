// Pieces that several views are made of.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import type { Picture, Table } from "./export";
import { CanvasPen } from "./pen";
import { theme } from "./theme";
import { label, percent, short } from "./text";
import type { Prediction, Token } from "./types";

/** A token's text as text: blanks visible, the direction of its own script. */
export function TokenText({ token }: { token: Token | undefined }) {
  if (!token) return null;
  return <bdi class="token" title={`token ${token.id}`}>{label(token)}</bdi>;
}

/** A picture on a canvas as sharp as the screen. */
export function Canvas(props: {
  picture: Picture;
  label: string;
  onMove?: (x: number, y: number) => void;
  onLeave?: () => void;
  onClick?: (x: number, y: number) => void;
  onKey?: (event: KeyboardEvent) => void;
  describedBy?: string;
}) {
  const { picture } = props;
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const canvas = ref.current;
    const context = canvas?.getContext("2d");
    if (!canvas || !context) return;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const pen = new CanvasPen(context);
    pen.rect(0, 0, picture.width, picture.height, theme().background);
    picture.draw(pen);
  });
  const at = (event: MouseEvent): [number, number] => {
    const box = ref.current!.getBoundingClientRect();
    return [((event.clientX - box.left) * picture.width) / box.width, ((event.clientY - box.top) * picture.height) / box.height];
  };
  const interactive = props.onKey !== undefined;
  return (
    <canvas
      ref={ref}
      style={{ width: `${picture.width}px`, height: `${picture.height}px` }}
      role={interactive ? "application" : "img"}
      aria-label={props.label}
      aria-describedby={props.describedBy}
      tabIndex={interactive ? 0 : undefined}
      onMouseMove={(event) => props.onMove?.(...at(event))}
      onMouseLeave={() => props.onLeave?.()}
      onClick={(event) => props.onClick?.(...at(event))}
      onKeyDown={props.onKey}
    />
  );
}

/** The rows of a table that are in the page at once. */
const PAGE = 100;

/** The table that says what a picture shows. */
export function DataTable({ table, caption, onRow }: { table: Table; caption: string; onRow?: (row: number) => void }) {
  const [page, setPage] = useState(0);
  const pages = Math.max(1, Math.ceil(table.rows.length / PAGE));
  const shown = Math.min(page, pages - 1);
  useEffect(() => setPage(0), [caption]);
  const cell = (value: string | number | null | undefined) =>
    value === null || value === undefined ? "–" : typeof value === "number" && !Number.isInteger(value) ? short(value) : value;
  return (
    <div class="datatable" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption>{caption}</caption>
        <thead><tr>{table.columns.map((name, i) => <th scope="col" key={name} class={typeof table.rows[0]?.[i] === "number" ? "number" : undefined}>{name}</th>)}</tr></thead>
        <tbody>
          {table.rows.slice(shown * PAGE, (shown + 1) * PAGE).map((row, i) => (
            <tr key={i}>
              {row.map((value, column) => (
                <td class={typeof value === "number" ? "number" : undefined} title={typeof value === "number" ? String(value) : undefined}>
                  {column === 0 && onRow
                    ? <button class="link" onClick={() => onRow(shown * PAGE + i)}>{cell(value)}</button>
                    : typeof value === "string" ? <bdi>{value}</bdi> : cell(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {pages > 1 && (
        <p class="pager">
          <button onClick={() => setPage(Math.max(0, shown - 1))} disabled={shown === 0}>Previous</button>
          <span>rows {shown * PAGE + 1}–{Math.min((shown + 1) * PAGE, table.rows.length)} of {table.rows.length}</span>
          <button onClick={() => setPage(Math.min(pages - 1, shown + 1))} disabled={shown === pages - 1}>Next</button>
        </p>
      )}
    </div>
  );
}

/** A picture and, on request, its table instead. */
export function Figure(props: {
  title: string;
  about?: ComponentChildren;
  table: () => Table;
  onRow?: (row: number) => void;
  tools?: ComponentChildren;
  children: ComponentChildren;
}) {
  const [asTable, setAsTable] = useState(false);
  return (
    <section class="figure" aria-label={props.title}>
      <div class="figure-head">
        <h3>{props.title}</h3>
        <div class="tools">
          {props.tools}
          <button class="quiet" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>Table</button>
        </div>
      </div>
      {props.about && <p class="about">{props.about}</p>}
      {asTable ? <DataTable table={props.table()} caption={props.title} onRow={props.onRow} /> : props.children}
    </section>
  );
}

/** One of several, as buttons. */
export function Choice<T extends string>(props: { name: string; options: [T, string][]; value: T; onChange: (value: T) => void }) {
  return (
    <div class="choice" role="group" aria-label={props.name}>
      {props.options.map(([value, text]) => (
        <button key={value} aria-pressed={props.value === value} onClick={() => props.onChange(value)}>{text}</button>
      ))}
    </div>
  );
}

/** Tokens with their probabilities as bars. */
export function Bars({ list, mark, onPick, caption }: {
  list: Prediction[]; mark?: number; onPick?: (token: Prediction) => void; caption: string;
}) {
  return (
    <table class="bars">
      <caption class="hidden">{caption}</caption>
      <tbody>
        {list.map((prediction) => (
          <tr key={prediction.id} class={prediction.id === mark ? "marked" : undefined}>
            <th scope="row">
              {onPick
                ? <button class="link" title="make this the target" onClick={() => onPick(prediction)}><TokenText token={prediction} /></button>
                : <TokenText token={prediction} />}
            </th>
            <td class="number" title={String(prediction.probability)}>{percent(prediction.probability)}</td>
            <td class="bar"><span style={{ width: `${Math.max(prediction.probability * 100, 0.4)}%` }} /></td>
            <td class="note">{prediction.id === mark ? "target" : ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The width of an element, followed as it changes. */
export function useWidth(): [preact.RefObject<HTMLDivElement>, number] {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const measure = () => setWidth(Math.floor(element.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}
