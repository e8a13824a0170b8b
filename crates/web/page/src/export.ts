// Files of what is shown: pictures from the same drawing functions as the screen, tables as CSV, documents as JSON.

import { CanvasPen, SvgPen, type Pen } from "./pen";
import { theme } from "./theme";

export interface Picture { width: number; height: number; title: string; draw(pen: Pen): void }

/** A table as it is exported: numbers in full. */
export interface Table { columns: string[]; rows: (string | number | null | undefined)[][] }

/** What a view can be saved as. */
export interface Exports { name: string; picture: () => Picture; table: () => Table; document: () => unknown }

/** Pixels of a PNG to each of the picture's own. */
const SCALE = 2;
/** Browsers refuse larger canvases. */
const LARGEST = 16000;

export function svg(picture: Picture): string {
  const pen = new SvgPen(picture.width, picture.height, theme().background);
  picture.draw(pen);
  return pen.finish(picture.title);
}

export async function png(picture: Picture): Promise<Blob> {
  const scale = Math.min(SCALE, LARGEST / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(picture.width * scale), Math.ceil(picture.height * scale)];
  const context = canvas.getContext("2d")!;
  context.scale(scale, scale);
  const pen = new CanvasPen(context);
  pen.rect(0, 0, picture.width, picture.height, theme().background);
  picture.draw(pen);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large for this browser"))), "image/png"));
}

/** RFC 4180. */
export function csv(table: Table): string {
  const cell = (value: string | number | null | undefined) => {
    if (value === null || value === undefined) return "";
    const text = String(value);
    return typeof value === "string" && /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [table.columns, ...table.rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

export async function save(what: Exports, form: "svg" | "png" | "csv" | "json"): Promise<void> {
  const blob =
    form === "svg" ? new Blob([svg(what.picture())], { type: "image/svg+xml" })
    : form === "png" ? await png(what.picture())
    : form === "csv" ? new Blob([csv(what.table())], { type: "text/csv" })
    : new Blob([JSON.stringify(what.document(), null, 2) + "\n"], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${what.name}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
