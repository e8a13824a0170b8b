// How long the page takes in headless Chromium, with synthetic data of known shape: first paint, frames of panning and
// hovering, file sizes. Prints a table in Markdown.
//
//     scripts/page_test.sh --test-name-pattern none   # installs what is missing, builds the command
//     node benches/page/measure.mjs [SHAPE…]
//
// The graph of a layer is that of tests/fixtures/flow_twelve_heads/flow.json, so that its nodes and links are real, once
// a layer with other words; maps are random but shaped like attention: a few keys get most of it.
import { mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { launch, retrograd, root } from "../../tests/page/browser.mjs";

const SHAPES = {
  "1 layer of 124M": { layers: 1, heads: 12, tokens: 64 },
  "12 layers of 124M": { layers: 12, heads: 12, tokens: 64 },
  "48 layers of XL": { layers: 48, heads: 25, tokens: 64 },
  "12 layers of 124M, 256 tokens": { layers: 12, heads: 12, tokens: 256 },
};

// A generator with a seed, so that files have one size.
let state = 0x2545f491;
function random() {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

const scratch = mkdtempSync(join(tmpdir(), "retrograd-measure-"));
const template = join(scratch, "template.html");
retrograd("flow", "The capital of France is", "--target", " Paris", "--html", template);
const html = readFileSync(template, "utf8");
const words = JSON.parse(readFileSync(join(root, "models/atlas/tokenizer.json"), "utf8")).model.vocab;
const vocabulary = Object.keys(words).map((word) => word.replaceAll("Ġ", " "));
const token = () => { const id = Math.floor(random() * vocabulary.length); return { id, text: vocabulary[id] }; };
const predictions = (n) => Array.from({ length: n }, () => ({ ...token(), probability: random() * 0.1 }));
const graph = JSON.parse(retrograd("flow", "--model", join(root, "tests/fixtures/flow_twelve_heads"), "--ids", "17,4,99,50", "--layers", "1", "--json"));

/** Bytes that compress as those of a trained model do: on atlas, with 98 tokens, gzip leaves 0.42 of A and 0.25 of R. */
function triangle(tokens, backward) {
  const bytes = new Uint8Array((tokens * (tokens + 1)) / 2);
  let at = 0;
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      bytes[at++] = backward ? Math.round(127 * Math.exp(-42 * random())) * (random() < 0.5 ? -1 : 1) : Math.round(255 * Math.exp(-22 * random()));
    }
  }
  return bytes;
}

function synthetic({ layers, heads, tokens }) {
  const prompt = Array.from({ length: tokens }, token);
  const nodes = [];
  const links = [];
  // Blocks in lines, as the command lays them out.
  const line = { 1: 1, 12: 3, 48: 6 }[layers];
  for (let layer = 0; layer < layers; layer++) {
    const id = (name) => name.replace(/^L1\./, `L${layer}.`);
    for (const node of graph.nodes) {
      nodes.push({ ...node, id: id(node.id), layer, label: node.label.replace("L1 ", `L${layer} `), x: node.x + (layer % line) * 2400, y: node.y + Math.floor(layer / line) * 888, top: predictions(10), bottom: predictions(10) });
    }
    for (const link of graph.links) links.push({ ...link, source: id(link.source), target: id(link.target) });
    if (layer > 0) links.push({ source: `L${layer - 1}.output`, target: `L${layer}.input`, kind: "stream", weight: 40 });
  }
  const target = { ...token(), probability: 0.3, rank: 0 };
  const entries = [];
  const named = 3 * layers * tokens > 4096 ? 3 : 5;
  for (const site of ["mlp.c_fc.input", "mlp.c_proj.delta", "resid_post"]) {
    for (let layer = 0; layer < layers; layer++) {
      for (let position = 0; position < tokens; position++) {
        entries.push({ site, layer, position, norm: random(), target_rank: Math.floor(random() * 50257), answer_rank: 3, target_probability: random() * 1e-4, entropy_bits: 10 * random(), top: predictions(named), bottom: predictions(named) });
      }
    }
  }
  const scale = Array.from({ length: layers }, () => Array.from({ length: heads }, random));
  const document = {
    schema: "retrograd-page/1", retrograd: "0", view: "flow",
    shape: { name: "synthetic", n_layer: layers, n_head: heads, n_embd: heads * 64, vocab_size: 50257, n_positions: 1024 },
    summary: {
      model: "synthetic", tokens: prompt, objective: { kind: "target", positions: [tokens - 1], targets: [target.id] }, loss: 1.2, answer: target, target,
      predictions: [{ position: tokens - 1, target, top: predictions(10) }], layers: [], adapter: "none", driver: "",
    },
    attention: {
      schema: "retrograd-attention/1", model: "synthetic", tokens: prompt, loss: 1.2,
      heads: scale.flatMap((row, layer) => row.map((reversed_norm, head) => ({ layer, head, pattern_norm: 2, reversed_norm }))),
    },
    lens: { schema: "retrograd-lens/1", model: "synthetic", tokens: prompt, position: tokens - 1, answer: target, target, loss: 1.2, normalized: false, entries },
    flow: { ...graph, tokens: prompt, position: tokens - 1, layers: Array.from({ length: layers }, (_, l) => l), target, answer: target, nodes, links },
    maps: { tokens, heads, layers: Array.from({ length: layers }, (_, l) => l), pattern_scale: scale, reversed_scale: scale, exact: [] },
    changed: null,
  };
  const text = Buffer.from(JSON.stringify(document));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  const maps = Buffer.concat(Array.from({ length: layers * heads * 2 }, (_, i) => triangle(tokens, i % 2 === 1)));
  const data = gzipSync(Buffer.concat([length, text, maps]), { level: 6 }).toString("base64");
  return { page: html.replace(/(id="data">)[^<]*/, `$1${data}`), nodes: nodes.length, links: links.length };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const worst = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length * 0.95)];


/** Work of the page's own handlers and drawing for a pointer event, without waiting for the screen. */
const perEvent = (page, kind, count) => page.evaluate(async ({ kind, count }) => {
  const canvas = document.querySelector("canvas.overlay");
  const box = canvas.getBoundingClientRect();
  const spent = [];
  const fire = (type, x, y, more = {}) => canvas.dispatchEvent(new MouseEvent(type, { bubbles: true, clientX: box.left + x, clientY: box.top + y, view: window, ...more }));
  const wheel = (x, y, d) => canvas.dispatchEvent(new WheelEvent("wheel", { bubbles: true, cancelable: true, clientX: box.left + x, clientY: box.top + y, deltaY: d, view: window }));
  if (kind === "pan") fire("mousedown", 600, 300);
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    if (kind === "pan") window.dispatchEvent(new MouseEvent("mousemove", { clientX: box.left + 600 - i * 6, clientY: box.top + 300 + (i % 7), view: window, bubbles: true }));
    else if (kind === "zoom") wheel(600, 300, i % 20 < 10 ? -60 : 60);
    else fire("mousemove", 20 + (i * 13) % (box.width - 40), 40 + (i * 29) % (box.height - 80));
    // What was put off to the next frame belongs to it.
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    spent.push(performance.now() - started);
  }
  if (kind === "pan") window.dispatchEvent(new MouseEvent("mouseup", { clientX: box.left, clientY: box.top, view: window, bubbles: true }));
  return spent;
}, { kind, count });

const wanted = process.argv.slice(2);
const browser = await launch();
console.log(`Chromium ${browser.version()} headless without GPU, ${cpus().length} × ${cpus()[0].model}, window 1360×900\n`);
console.log("| page | nodes, links | file | until drawn | pan | zoom | hover | redraw at rest | hover over a head's map |");
console.log("|---|---|---|---|---|---|---|---|---|");
for (const [name, shape] of Object.entries(SHAPES)) {
  if (wanted.length && !wanted.includes(name)) continue;
  const { page: text, nodes, links } = synthetic(shape);
  const path = join(scratch, "synthetic.html");
  writeFileSync(path, text);
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
  const page = await context.newPage();
  const openings = [];
  for (let i = 0; i < 3; i++) {
    await page.goto("about:blank");
    await page.goto(pathToFileURL(path).href, { waitUntil: "commit" });
    await page.locator("canvas.overlay").waitFor();
    openings.push(await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(() => resolve(performance.now()))))));
  }
  const results = {};
  for (const kind of ["pan", "zoom", "hover"]) {
    await perEvent(page, kind, 10);
    results[kind] = await perEvent(page, kind, 90);
    await page.waitForTimeout(400);
  }
  // Everything anew, as when a movement comes to rest: the page measures it itself.
  for (const colour of ["Backward", "Forward", "Backward"]) {
    await page.getByRole("button", { name: colour, exact: true }).click();
    await page.waitForTimeout(300);
  }
  const redraws = await page.evaluate(() => performance.getEntriesByName("flow-redraw").map((entry) => entry.duration));
  // All heads as thumbnails, one large: the pointer over its cells.
  await page.keyboard.press("Escape");
  await page.locator("nav button", { hasText: "Heads" }).click();
  await page.waitForTimeout(800);
  results.heads = await page.evaluate(async () => {
    const canvas = [...document.querySelectorAll("canvas[role=application]")].find((c) => c.getAttribute("aria-label").startsWith("Attention A"));
    const box = canvas.getBoundingClientRect();
    const spent = [];
    for (let i = 0; i < 60; i++) {
      const started = performance.now();
      canvas.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: box.left + 150 + (i * 5) % 100, clientY: box.bottom - 250 + (i * 3) % 90, view: window }));
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      spent.push(performance.now() - started);
    }
    return spent;
  });
  const ms = (list) => `${median(list).toFixed(0)} (95%: ${worst(list).toFixed(0)}) ms`;
  console.log(`| ${name} | ${nodes}, ${links} | ${(statSync(path).size / 1e6).toFixed(2)} MB | ${median(openings).toFixed(0)} ms | ${ms(results.pan)} | ${ms(results.zoom)} | ${ms(results.hover)} | ${ms(redraws)} | ${ms(results.heads)} |`);
  await context.close();
}
await browser.close();
