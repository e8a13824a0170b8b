// The frame: prompt, views, theme, export, undo, keys.

import { useEffect, useRef, useState } from "preact/hooks";
import { save, type Exports } from "./export";
import { TokenText } from "./parts";
import { cancel, failure, progress, requestOf, served, serverModel, trace } from "./server";
import { announcement, payload, say, select, selection, tokens, undo, undoable, type View } from "./state";
import { chooseTheme, theme } from "./theme";
import { label, percent } from "./text";
import { flowExports, Flow } from "./views/flow";
import { Heads, headsExports } from "./views/heads";
import { Lens, lensExports } from "./views/lens";
import { Overview, overviewExports } from "./views/overview";
import { Try, tryExports } from "./views/try";

const VIEWS: [View, string][] = [["overview", "Overview"], ["heads", "Heads"], ["lens", "Lens"], ["flow", "Flow"]];
if (served) VIEWS.push(["try", "Try"]);

function exportsOf(view: View): Exports | null {
  const source = payload.value;
  if (!source) return null;
  switch (view) {
    case "overview": return overviewExports(source);
    case "heads": return source.maps ? headsExports(source) : null;
    case "lens": return source.document.lens ? lensExports() : null;
    case "flow": return source.document.flow ? flowExports() : null;
    case "try": return tryExports();
  }
}

function Prompt() {
  const model = serverModel.value;
  const { prompt, target } = selection.value;
  const submit = (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const text = (name: string) => (form.elements.namedItem(name) as HTMLInputElement).value;
    select({ prompt: text("prompt"), target: text("target"), position: -1, node: "", cell: "" });
    void trace({ ...requestOf(), position: undefined }, true);
  };
  const unset = prompt === "" ? (model?.example ?? "") : prompt;
  return (
    <form class="prompt" onSubmit={submit} aria-label="What is run" key={`${unset}|${target}`}>
      <label class="grow">prompt <textarea name="prompt" rows={1} spellcheck={false} defaultValue={unset} placeholder={model?.tokenizer ? "" : "#12,7,55 (token ids)"}
        onKeyDown={(event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); event.currentTarget.form?.requestSubmit(); } }} /></label>
      <label>target <input name="target" defaultValue={target} placeholder="the model's answer" spellcheck={false} title="a token with its blank, as in ' Paris', or an id as in #17" /></label>
      <button class="primary" type="submit">Run</button>
      {progress.value !== "" && <button type="button" class="quiet" onClick={cancel}>Cancel</button>}
    </form>
  );
}

function TokenStrip() {
  const { position, view } = selection.value;
  const document = payload.value!.document;
  const carries = new Set(document.summary.objective.positions);
  const strip = useRef<HTMLDivElement>(null);
  // Of a long prompt only some lines are in sight. Not scrollIntoView, which would move the page too.
  useEffect(() => {
    const [box, chosen] = [strip.current, strip.current?.children[position] as HTMLElement | undefined];
    if (!box || !chosen) return;
    const top = chosen.offsetTop;
    if (top < box.scrollTop || top + chosen.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top - 4;
  }, [position, document]);
  const choose = (at: number) => {
    say(`position ${at}: ${label(tokens.value[at])}`);
    select({ position: at });
    if (served && view === "flow" && document.flow?.position !== at) void trace({ ...requestOf(), position: at }, true);
  };
  return (
    <div class="strip" ref={strip} role="group" aria-label="Tokens of the prompt: choose a position"
      onKeyDown={(event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const next = Math.min(Math.max(position + by, 0), tokens.value.length - 1);
        choose(next);
        (strip.current?.children[next] as HTMLElement | undefined)?.focus();
      }}>
      {tokens.value.map((token, i) => (
        <button key={i} class={carries.has(i) ? "carries" : undefined} aria-pressed={i === position} tabIndex={i === position ? 0 : -1}
          title={`token ${token.id}${carries.has(i) ? ", carries loss" : ""}`} onClick={() => choose(i)}>
          <small>{i}</small><TokenText token={token} />
        </button>
      ))}
      {document.summary.target && (
        <span class="target" title="the target: what the loss wants here">→ <TokenText token={document.summary.target} /> {percent(document.summary.target.probability)}</span>
      )}
    </div>
  );
}

function ExportMenu() {
  const [open, setOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  const what = exportsOf(selection.value.view);
  useEffect(() => {
    if (!open) return;
    const close = (event: Event) => { if (!menu.current?.contains(event.target as Node)) setOpen(false); };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, [open]);
  return (
    <div class="menu" ref={menu} onKeyDown={(event) => { if (event.key === "Escape") { setOpen(false); (menu.current?.firstElementChild as HTMLElement).focus(); } }}>
      <button class="quiet" aria-expanded={open} disabled={!what} onClick={() => setOpen(!open)}>Save</button>
      {open && what && (
        <div class="menu-list">
          {(["svg", "png", "csv", "json"] as const).map((form) => (
            <button key={form} onClick={() => { setOpen(false); save(what, form).then(() => say(`${what.name}.${form} saved`), (error: Error) => { failure.value = error.message; }); }}>
              {form.toUpperCase()} <small>{{ svg: "picture, scalable", png: "picture", csv: "table", json: "document" }[form]}</small>
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

const KEYS: [string, string][] = [
  ["1 – 5", "views"], ["arrow keys", "move in what has the focus"], ["Enter", "open"], ["Escape", "let go"],
  ["z", "take the last selection back"], ["d", "dark or light"], ["+ − 0", "zoom in the graph"], ["?", "this list"],
];

export function App() {
  const { view } = selection.value;
  const source = payload.value;
  const [help, setHelp] = useState(false);
  const colours = theme();
  useEffect(() => {
    document.documentElement.dataset["theme"] = colours.dark ? "dark" : "light";
  }, [colours.dark]);
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      const number = Number(event.key);
      if (number >= 1 && number <= VIEWS.length) select({ view: VIEWS[number - 1]![0] });
      else if (event.key === "z") undo();
      else if (event.key === "d") chooseTheme(!theme().dark);
      else if (event.key === "?") setHelp((on) => !on);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  useEffect(() => {
    document.title = source ? `${VIEWS.find(([v]) => v === view)?.[1] ?? ""} · ${source.document.shape.name} · Retrograd` : "Retrograd";
  }, [view, source]);
  const shape = source?.document.shape ?? serverModel.value?.shape;
  return (
    <>
      <header>
        <div class="top">
          <h1>Retrograd</h1>
          {shape && <span class="dim model" title={source?.document.summary.adapter}>{shape.name} · {shape.n_layer} layers × {shape.n_head} heads · width {shape.n_embd}</span>}
          <span class="spring" />
          <button class="quiet" disabled={undoable.value === 0} onClick={undo} title="take the last selection back (z)">Undo</button>
          <ExportMenu />
          <button class="quiet" onClick={() => chooseTheme(!colours.dark)} title="dark or light (d)">{colours.dark ? "Light" : "Dark"}</button>
          <button class="quiet" aria-expanded={help} onClick={() => setHelp(!help)} title="keys (?)">Keys</button>
        </div>
        {served && <Prompt />}
        {source && <TokenStrip />}
        {help && <dl class="keys" aria-label="Keys">{KEYS.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>}
        {failure.value !== "" && <p class="failure" role="alert">{failure.value} <button class="link" onClick={() => { failure.value = ""; }}>dismiss</button></p>}
        {progress.value !== "" && <p class="progress" role="status"><span class="spinner" />{progress.value}</p>}
        {source && (
          <nav aria-label="Views">
            {VIEWS.map(([name, text], i) => (
              <button key={name} aria-current={view === name ? "page" : undefined} onClick={() => select({ view: name })} title={`${text} (${i + 1})`}>{text}</button>
            ))}
          </nav>
        )}
      </header>
      <main>
        {!source ? <p class="empty">{progress.value || "Nothing has been run yet."}</p>
          : view === "overview" ? <Overview /> : view === "heads" ? <Heads /> : view === "lens" ? <Lens /> : view === "flow" ? <Flow />
          : served ? <Try /> : <p class="empty">Trying things needs the program: <code>retrograd serve</code>.</p>}
      </main>
      <footer class="dim">
        {source && <>Retrograd {source.document.retrograd}; {source.document.summary.adapter}{source.document.summary.driver && `, ${source.document.summary.driver}`}</>}
      </footer>
      <div class="hidden" aria-live="polite">{announcement.value}</div>
    </>
  );
}
