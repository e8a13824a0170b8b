// One set of drawing commands for the screen and for files: every picture is drawn by a function of a Pen.

export const FONT = 'system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';

export interface TextStyle {
  size?: number;
  fill: string;
  anchor?: "start" | "middle" | "end";
  bold?: boolean;
  /** Degrees, about the text's own place. */
  rotate?: number;
}

export interface Pen {
  rect(x: number, y: number, w: number, h: number, fill: string): void;
  frame(x: number, y: number, w: number, h: number, stroke: string, width: number): void;
  line(points: [number, number][], stroke: string, width: number, dash?: number[]): void;
  /** A link: leaves and arrives horizontally. */
  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, width: number, alpha: number): void;
  disc(x: number, y: number, r: number, fill: string, stroke: string, width: number): void;
  text(x: number, y: number, text: string, style: TextStyle): void;
  /** A picture of `columns` × `rows` cells whose colours are RGBA bytes. */
  cells(x: number, y: number, w: number, h: number, columns: number, rows: number, rgba: Uint8ClampedArray<ArrayBuffer>): void;
}

/** Pictures of cells as the browser draws them; those whose bytes are kept are not made again. */
const painted = new WeakMap<Uint8ClampedArray, HTMLCanvasElement>();

export class CanvasPen implements Pen {
  constructor(readonly context: CanvasRenderingContext2D) {}

  rect(x: number, y: number, w: number, h: number, fill: string): void {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, w, h);
  }
  frame(x: number, y: number, w: number, h: number, stroke: string, width: number): void {
    this.context.strokeStyle = stroke;
    this.context.lineWidth = width;
    this.context.strokeRect(x, y, w, h);
  }
  line(points: [number, number][], stroke: string, width: number, dash: number[] = []): void {
    const c = this.context;
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.setLineDash(dash);
    c.beginPath();
    points.forEach(([x, y], i) => (i === 0 ? c.moveTo(x, y) : c.lineTo(x, y)));
    c.stroke();
    c.setLineDash([]);
  }
  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, width: number, alpha: number): void {
    const c = this.context;
    const middle = (x1 + x2) / 2;
    c.globalAlpha = alpha;
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.beginPath();
    c.moveTo(x1, y1);
    c.bezierCurveTo(middle, y1, middle, y2, x2, y2);
    c.stroke();
    c.globalAlpha = 1;
  }
  disc(x: number, y: number, r: number, fill: string, stroke: string, width: number): void {
    const c = this.context;
    c.beginPath();
    c.arc(x, y, r, 0, 2 * Math.PI);
    c.fillStyle = fill;
    c.fill();
    if (width > 0) {
      c.strokeStyle = stroke;
      c.lineWidth = width;
      c.stroke();
    }
  }
  text(x: number, y: number, text: string, style: TextStyle): void {
    const c = this.context;
    c.font = `${style.bold ? "600 " : ""}${style.size ?? 12}px ${FONT}`;
    c.textAlign = style.anchor === "middle" ? "center" : style.anchor === "end" ? "right" : "left";
    c.textBaseline = "middle";
    c.fillStyle = style.fill;
    if (!style.rotate) return c.fillText(text, x, y);
    c.save();
    c.translate(x, y);
    c.rotate((style.rotate * Math.PI) / 180);
    c.fillText(text, 0, 0);
    c.restore();
  }
  cells(x: number, y: number, w: number, h: number, columns: number, rows: number, rgba: Uint8ClampedArray<ArrayBuffer>): void {
    let small = painted.get(rgba);
    if (!small) {
      small = document.createElement("canvas");
      [small.width, small.height] = [columns, rows];
      small.getContext("2d")!.putImageData(new ImageData(rgba, columns, rows), 0, 0);
      painted.set(rgba, small);
    }
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(small, x, y, w, h);
  }
}

export class SvgPen implements Pen {
  private readonly parts: string[] = [];

  constructor(private readonly width: number, private readonly height: number, background: string) {
    this.rect(0, 0, width, height, background);
  }

  private push(tag: string, attributes: Record<string, string | number>, body = ""): void {
    const list = Object.entries(attributes).map(([k, v]) => ` ${k}="${typeof v === "number" ? round(v) : escape(v)}"`);
    this.parts.push(`<${tag}${list.join("")}${body ? `>${body}</${tag}>` : "/>"}`);
  }
  rect(x: number, y: number, width: number, height: number, fill: string): void {
    this.push("rect", { x, y, width, height, fill });
  }
  frame(x: number, y: number, width: number, height: number, stroke: string, w: number): void {
    this.push("rect", { x, y, width, height, fill: "none", stroke, "stroke-width": w });
  }
  line(points: [number, number][], stroke: string, width: number, dash: number[] = []): void {
    const list = points.map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
    const more: Record<string, string> = dash.length ? { "stroke-dasharray": dash.join(" ") } : {};
    this.push("polyline", { points: list, fill: "none", stroke, "stroke-width": width, ...more });
  }
  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, width: number, alpha: number): void {
    const m = round((x1 + x2) / 2);
    const d = `M${round(x1)} ${round(y1)}C${m} ${round(y1)} ${m} ${round(y2)} ${round(x2)} ${round(y2)}`;
    this.push("path", { d, fill: "none", stroke, "stroke-width": width, "stroke-opacity": alpha });
  }
  disc(cx: number, cy: number, r: number, fill: string, stroke: string, width: number): void {
    this.push("circle", { cx, cy, r, fill, ...(width > 0 ? { stroke, "stroke-width": width } : {}) });
  }
  text(x: number, y: number, text: string, style: TextStyle): void {
    const attributes: Record<string, string | number> = {
      x, y, fill: style.fill, "font-size": style.size ?? 12, "font-family": FONT, "dominant-baseline": "central",
    };
    if (style.anchor && style.anchor !== "start") attributes["text-anchor"] = style.anchor;
    if (style.bold) attributes["font-weight"] = 600;
    if (style.rotate) attributes["transform"] = `rotate(${style.rotate} ${round(x)} ${round(y)})`;
    this.push("text", attributes, escape(text));
  }
  cells(x: number, y: number, w: number, h: number, columns: number, rows: number, rgba: Uint8ClampedArray<ArrayBuffer>): void {
    const [cw, ch] = [w / columns, h / rows];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = 4 * (row * columns + column);
        if (rgba[at + 3] === 0) continue;
        const hex = [0, 1, 2].map((i) => rgba[at + i]!.toString(16).padStart(2, "0")).join("");
        this.push("rect", { x: x + column * cw, y: y + row * ch, width: cw + 0.02, height: ch + 0.02, fill: `#${hex}` });
      }
    }
  }
  finish(title: string): string {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}" role="img"><title>${escape(title)}</title>\n${this.parts.join("\n")}\n</svg>\n`;
  }
}

function round(x: number): number {
  return Math.round(x * 100) / 100;
}

function escape(text: string): string {
  return text.replace(/[&<>"\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (c) =>
    ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? "�");
}
