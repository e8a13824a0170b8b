// What a page is made of: a JSON document and, behind it, attention maps as bytes. Gzipped, in base64.
//
//   u32 length of the document, little-endian | the document, UTF-8 | maps
//   maps: for each layer and head, A then R, lower triangles of T(T+1)/2 bytes; then exact heads as f32
//   A = byte/255 · scale      R = byte/127 · scale, byte as signed

import type { MapsManifest, PageDocument } from "./types";

export type MapKind = "pattern" | "reversed";

/** A head's map: values on and below the diagonal. */
export interface HeadMap { values: Float32Array; exact: boolean; largest: number }

/** Bytes of unpacked maps that are kept. */
const MEMORY = 256 << 20;

export class Maps {
  private readonly triangle: number;
  private readonly cache = new Map<string, HeadMap>();

  constructor(readonly manifest: MapsManifest, private readonly bytes: Uint8Array) {
    this.triangle = (manifest.tokens * (manifest.tokens + 1)) / 2;
  }

  has(layer: number): boolean {
    return this.manifest.layers.includes(layer);
  }

  get(kind: MapKind, layer: number, head: number): HeadMap | null {
    const slot = this.manifest.layers.indexOf(layer);
    if (slot < 0 || head >= this.manifest.heads) return null;
    const key = `${kind} ${layer} ${head}`;
    const kept = this.cache.get(key);
    if (kept) return kept;
    const map = this.exact(kind, layer, head) ?? this.rounded(kind, slot, head);
    if (this.cache.size * 4 * this.triangle > MEMORY) this.cache.clear();
    this.cache.set(key, map);
    return map;
  }

  private exact(kind: MapKind, layer: number, head: number): HeadMap | null {
    const at = this.manifest.exact.findIndex((e) => e.layer === layer && e.head === head);
    if (at < 0) return null;
    const { layers, heads } = this.manifest;
    const start = layers.length * heads * 2 * this.triangle + (2 * at + (kind === "reversed" ? 1 : 0)) * 4 * this.triangle;
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset + start, 4 * this.triangle);
    const values = new Float32Array(this.triangle);
    let largest = 0;
    for (let i = 0; i < values.length; i++) {
      const value = view.getFloat32(4 * i, true);
      values[i] = value;
      largest = Math.max(largest, Math.abs(value));
    }
    return { values, exact: true, largest };
  }

  private rounded(kind: MapKind, slot: number, head: number): HeadMap {
    const { heads, pattern_scale, reversed_scale } = this.manifest;
    const start = ((slot * heads + head) * 2 + (kind === "reversed" ? 1 : 0)) * this.triangle;
    const values = new Float32Array(this.triangle);
    const scale = (kind === "reversed" ? reversed_scale : pattern_scale)[slot]?.[head] ?? 0;
    for (let i = 0; i < values.length; i++) {
      const byte = this.bytes[start + i] ?? 0;
      if (kind === "pattern") values[i] = (byte / 255) * scale;
      else {
        const signed = byte > 127 ? byte - 256 : byte;
        values[i] = (signed / 127) * scale;
      }
    }
    return { values, exact: false, largest: scale };
  }
}

/** Where (query, key) lies in a triangle. */
export function inTriangle(query: number, key: number): number {
  return (query * (query + 1)) / 2 + key;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  // Newer browsers do it themselves.
  const direct = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (direct) return direct.call(Uint8Array, base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export interface Payload { document: PageDocument; maps: Maps | null }

export async function decode(base64: string): Promise<Payload> {
  const stream = new Blob([bytesOf(base64.trim())]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const document = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as PageDocument;
  const maps = document.maps ? new Maps(document.maps, bytes.subarray(4 + length)) : null;
  return { document, maps };
}
