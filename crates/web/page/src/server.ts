// The program behind a served page. A file has none: nothing here is called then, and its policy forbids requests.

import { signal } from "@preact/signals";
import { decode, type Payload } from "./payload";
import { say, select, selection, show } from "./state";
import type { ModelShape, Prediction } from "./types";

export interface RunRequest {
  prompt?: string;
  ids?: number[];
  target?: string;
  target_id?: number;
  position?: number;
  ablate?: string[];
  patch?: { map: "reversed" | "forward"; alpha: number };
  edit?: { layer: number; eta: number };
  views?: string[];
}

export interface ServerModel { shape: ModelShape; retrograd: string; tokenizer: boolean; example: string; adapter: string; max_prompt_bytes: number }

export const served = document.querySelector('meta[name="retrograd-served"]') !== null;
export const serverModel = signal<ServerModel | null>(null);
/** What the server is doing for this page; empty when nothing. */
export const progress = signal("");
export const failure = signal("");
/** What the last run was of; the Try view repeats it with changes. */
export const lastRun = signal<RunRequest | null>(null);

let running: AbortController | null = null;

interface Event { event: string; ahead?: number; stage?: string; data?: string; error?: { what: string; message: string } }

async function failed(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as { error: { what: string; message: string } };
    return error.what ? `${error.what}: ${error.message}` : error.message;
  } catch {
    return `the server answered ${response.status} ${response.statusText}`;
  }
}

export async function loadModel(): Promise<void> {
  const response = await fetch("/api/model");
  if (!response.ok) throw new Error(await failed(response));
  serverModel.value = (await response.json()) as ServerModel;
}

/** Runs a request; the one before it is given up. `null` when this one was given up. */
export async function run(request: RunRequest): Promise<Payload | null> {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  failure.value = "";
  progress.value = "asking the server";
  try {
    const response = await fetch("/api/run", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal: mine.signal,
    });
    if (!response.ok || !response.body) throw new Error(await failed(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.filter((line) => line !== "")) {
        const event = JSON.parse(line) as Event;
        if (event.event === "queued") progress.value = event.ahead ? `waiting for ${event.ahead} other ${event.ahead === 1 ? "request" : "requests"}` : "starting";
        else if (event.event === "progress") progress.value = event.stage ?? "";
        else if (event.event === "error") throw new Error(event.error?.what ? `${event.error.what}: ${event.error.message}` : event.error?.message);
        else if (event.event === "result" && event.data) {
          const payload = await decode(event.data);
          return mine.signal.aborted ? null : payload;
        }
      }
      if (done) throw new Error("the server ended before it was done; is it still running?");
    }
  } catch (error) {
    if (mine.signal.aborted) return null;
    const text = error instanceof TypeError ? "the server does not answer; is 'retrograd serve' still running?" : (error as Error).message;
    failure.value = text;
    say(text);
    return null;
  } finally {
    if (running === mine) {
      running = null;
      progress.value = "";
    }
  }
}

export function cancel(): void {
  running?.abort();
}

/** Runs a prompt and shows it everywhere. */
export async function trace(request: RunRequest, keep: boolean): Promise<void> {
  const payload = await run(request);
  if (!payload) return;
  lastRun.value = request;
  show(payload, keep);
  const { loss, target } = payload.document.summary;
  say(`done: loss ${loss.toFixed(4)}${target?.text ? `, target ${target.text}` : ""}`);
}

/** The request that the selection describes. */
export function requestOf(): RunRequest {
  const { prompt, target, position } = selection.value;
  const text = prompt || serverModel.value?.example || "";
  const ids = /^#[\d,\s]+$/.test(text) ? text.slice(1).split(",").map(Number) : undefined;
  const id = /^#\d+$/.test(target) ? Number(target.slice(1)) : undefined;
  return {
    ...(ids ? { ids } : { prompt: text }),
    ...(id !== undefined ? { target_id: id } : target !== "" ? { target } : {}),
    ...(position >= 0 ? { position } : {}),
  };
}

/** What a click on a prediction does where there is a server: that token becomes the target. */
export function retarget(): ((token: Prediction) => void) | undefined {
  if (!served) return undefined;
  return (token) => {
    select({ target: `#${token.id}` });
    void trace(requestOf(), true);
  };
}
