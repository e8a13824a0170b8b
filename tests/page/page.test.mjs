// The page as its users meet it: a file from disk, and served by the command.
//
//     scripts/page_test.sh        (installs what is missing, builds the command, runs this)
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { axe, json, launch, open, retrograd, scratch, serve } from "./browser.mjs";

const PROMPT = "The capital of France is";
const TARGET = " Paris";
const VIEWS = ["Overview", "Heads", "Lens", "Flow"];
const file = join(scratch, "france.html");
const fileUrl = pathToFileURL(file).href;
const onlyFile = (url) => url === fileUrl || url.startsWith(`${fileUrl}#`);

let browser;
before(async () => {
  retrograd("flow", PROMPT, "--target", TARGET, "--html", file);
  browser = await launch();
});
after(() => browser?.close());

const ready = (page) => page.locator("nav[aria-label=Views]").waitFor();
const view = (page) => page.locator("nav button[aria-current=page]").textContent();

/** Every view by mouse, then by keyboard. */
async function visits(page, names) {
  for (const name of names) {
    await page.locator("nav button", { hasText: name }).click();
    assert.equal(await view(page), name);
    await page.locator("main .view").waitFor();
  }
  for (const [i, name] of names.entries()) {
    await page.locator("h1").click();
    await page.keyboard.press(String(i + 1));
    assert.equal(await view(page), name);
  }
}

/** Saves the view that is shown in every form; returns path by form. */
async function exports(page) {
  const saved = {};
  for (const form of ["SVG", "PNG", "CSV", "JSON"]) {
    await page.getByRole("button", { name: "Save", exact: true }).click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".menu-list button", { hasText: form }).click()]);
    saved[form] = join(scratch, `${Date.now()}-${download.suggestedFilename()}`);
    await download.saveAs(saved[form]);
  }
  const svg = readFileSync(saved.SVG, "utf8");
  const problem = await page.evaluate((text) => new DOMParser().parseFromString(text, "image/svg+xml").querySelector("parsererror")?.textContent ?? "", svg);
  assert.equal(problem, "");
  assert.ok(svg.length > 2000, "an SVG with something in it");
  const png = readFileSync(saved.PNG);
  assert.equal(png.subarray(0, 8).toString("latin1"), "\x89PNG\r\n\x1a\n");
  assert.ok(png.readUInt32BE(16) > 200 && png.readUInt32BE(20) > 100, "a PNG of some size");
  const lines = csvRows(readFileSync(saved.CSV, "utf8"));
  assert.ok(lines.length > 1 && lines.every((line) => line.length === lines[0].length), "a CSV with even rows");
  JSON.parse(readFileSync(saved.JSON, "utf8"));
  return saved;
}

function csvRows(text) {
  const rows = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    const row = rows.at(-1);
    if (quoted) {
      if (c === '"' && text[i + 1] === '"') { row[row.length - 1] += '"'; i++; } else if (c === '"') quoted = false;
      else row[row.length - 1] += c;
    } else if (c === '"') quoted = true;
    else if (c === ",") row.push("");
    else if (c === "\n") rows.push([""]);
    else if (c !== "\r") row[row.length - 1] += c;
  }
  if (rows.at(-1).length === 1 && rows.at(-1)[0] === "") rows.pop();
  return rows;
}

describe("the file", () => {
  test("views by mouse and by keyboard, no request, no error", async () => {
    const { page, context, wrong } = await open(browser, fileUrl, onlyFile);
    await ready(page);
    await visits(page, VIEWS);
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test("accessible in light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const { page, context } = await open(browser, fileUrl, onlyFile, { colorScheme });
      await ready(page);
      for (const name of VIEWS) {
        await page.locator("nav button", { hasText: name }).click();
        assert.deepEqual(await axe(page), [], `${name}, ${colorScheme}`);
        for (const table of await page.getByRole("button", { name: "Table", exact: true }).all()) await table.click();
        assert.deepEqual(await axe(page), [], `${name} as tables, ${colorScheme}`);
      }
      await context.close();
    }
  });

  test("the head's maps answer to mouse and keys, with the numbers of the command", async () => {
    const { page, context, wrong } = await open(browser, fileUrl, onlyFile);
    await ready(page);
    await page.keyboard.press("2");
    const attention = json("attention", PROMPT, "--target", TARGET);
    const best = attention.heads[0];
    await page.locator("h2", { hasText: `L${best.layer}H${best.head}` }).waitFor();
    const map = page.getByRole("application", { name: /^Reversed Attention R of layer/ });
    const box = await map.boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + box.height * 0.35);
    await page.locator("#cell-readout b").first().waitFor();
    await map.focus();
    await page.keyboard.press("ArrowUp");
    assert.match(page.url(), /cell=\d+\.\d+/);
    const saved = await exports(page);
    const head = JSON.parse(readFileSync(saved.JSON, "utf8"));
    assert.ok(head.exact);
    const norm = Math.sqrt(head.reversed.flat().reduce((sum, x) => sum + x * x, 0));
    assert.ok(Math.abs(norm - best.reversed_norm) < 1e-6 * best.reversed_norm, `${norm} for ${best.reversed_norm}`);
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test("maps of 8 bits are within half a step of the exact ones, and say that they are not exact", async () => {
    const rounded = join(scratch, "rounded.html");
    retrograd("attention", PROMPT, "--target", TARGET, "--html", rounded, "--views", "heads", "--exact", "3.3");
    const heads = [];
    for (const url of [fileUrl, pathToFileURL(rounded).href]) {
      const { page, context, wrong } = await open(browser, `${url}#view=heads&layer=2&head=1&cell=4.0`, (u) => u.startsWith("file:"));
      await ready(page);
      heads.push(JSON.parse(readFileSync((await exports(page)).JSON, "utf8")));
      assert.equal((await page.locator("#cell-readout").textContent()).includes("≈"), url !== fileUrl);
      assert.deepEqual(wrong, []);
      await context.close();
    }
    const [exact, coarse] = heads;
    assert.deepEqual([exact.exact, coarse.exact], [true, false]);
    for (const [map, steps] of [["pattern", 255], ["reversed", 127]]) {
      const largest = Math.max(...exact[map].flat().map(Math.abs));
      const off = Math.max(...exact[map].flat().map((x, i) => Math.abs(x - coarse[map].flat()[i])));
      assert.ok(off <= (0.5001 * largest) / steps, `${map}: ${off} of ${largest}`);
    }
  });

  test("saved documents are the command's own", async () => {
    const { page, context } = await open(browser, fileUrl, onlyFile);
    await ready(page);
    await page.keyboard.press("1");
    const overview = JSON.parse(readFileSync((await exports(page)).JSON, "utf8"));
    assert.deepEqual(overview.attention, json("attention", PROMPT, "--target", TARGET));
    assert.equal(overview.summary.loss, json("trace", PROMPT, "--target", TARGET).loss);
    await page.keyboard.press("3");
    const lens = await exports(page);
    const sites = ["--sites", "mlp.c_fc.input,mlp.c_proj.delta,resid_post"];
    assert.deepEqual(JSON.parse(readFileSync(lens.JSON, "utf8")), json("lens", PROMPT, "--target", TARGET, ...sites));
    await page.keyboard.press("4");
    const flow = await exports(page);
    const graph = json("flow", PROMPT, "--target", TARGET);
    assert.deepEqual(JSON.parse(readFileSync(flow.JSON, "utf8")), graph);
    const [names, ...rows] = csvRows(readFileSync(flow.CSV, "utf8"));
    assert.deepEqual(rows.map((row) => Number(row[names.indexOf("norm")])), graph.nodes.map((node) => node.norm));
    await context.close();
  });

  test("the graph: pin, follow, search, layers, colours, table", async () => {
    const { page, context, wrong } = await open(browser, fileUrl, onlyFile);
    await ready(page);
    await page.keyboard.press("4");
    const graph = page.getByRole("application", { name: /^Flow graph of/ });
    await graph.focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.getByRole("region", { name: "Pinned node" }).waitFor();
    assert.match(page.url(), /node=L0\./);
    await page.keyboard.press("+");
    await page.keyboard.press("0");
    await page.keyboard.press("Escape");
    await page.getByRole("region", { name: "Pinned node" }).waitFor({ state: "detached" });
    await page.getByRole("searchbox").fill("paris");
    assert.match(await page.locator(".bar-of-tools span[role=status]").textContent(), /\d+ nodes/);
    await page.getByRole("searchbox").press("Enter");
    await page.getByRole("region", { name: "Pinned node" }).waitFor();
    await page.getByLabel("layer", { exact: false }).first().selectOption("3");
    assert.match(page.url(), /focus=3/);
    await page.getByRole("button", { name: "Backward" }).click();
    await page.getByRole("button", { name: "Table", exact: true }).click();
    await page.getByRole("cell", { name: "L0.input" }).waitFor();
    await page.getByRole("button", { name: "Table", exact: true }).click();
    const box = await graph.boundingBox();
    await page.mouse.move(box.x + 300, box.y + 200);
    await page.mouse.wheel(0, -240);
    await page.mouse.down();
    await page.mouse.move(box.x + 360, box.y + 240, { steps: 4 });
    await page.mouse.up();
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test("a link restores the view, undo takes a selection back, a broken link does no harm", async () => {
    const { page, context } = await open(browser, fileUrl, onlyFile);
    await ready(page);
    await page.keyboard.press("3");
    await page.getByRole("button", { name: "resid_post" }).click();
    await page.locator("table.lens tbody tr").nth(1).locator("button").nth(2).click();
    const [url, text] = [page.url(), await page.locator("main").innerText()];
    const again = await open(browser, url, onlyFile);
    await ready(again.page);
    assert.equal(await again.page.locator("main").innerText(), text);
    await again.context.close();
    await page.getByRole("button", { name: "Undo" }).click();
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await page.getByRole("button", { name: "mlp.c_proj.delta" }).getAttribute("aria-pressed"), await page.getByRole("button", { name: "resid_post" }).getAttribute("aria-pressed") === "true" ? "false" : "true");
    const broken = await open(browser, `${fileUrl}#view=nothing&layer=99&head=x&cell=7.9&position=-5&node=L9&%ff=%00`, (u) => u.startsWith(fileUrl));
    await ready(broken.page);
    assert.deepEqual(broken.wrong, []);
    await broken.context.close();
    await context.close();
  });

  test("in a notebook's frame, which has no address of its own", async () => {
    const escaped = readFileSync(file, "utf8").replaceAll("&", "&amp;").replaceAll('"', "&quot;");
    const notebook = join(scratch, "notebook.html");
    writeFileSync(notebook, `<!doctype html><meta charset="utf-8"><iframe sandbox="allow-scripts allow-downloads" style="width:100%;height:42rem" srcdoc="${escaped}"></iframe>`);
    const { page, context, wrong } = await open(browser, pathToFileURL(notebook).href, (url) => url.startsWith("file:") || url === "about:srcdoc");
    const frame = page.frameLocator("iframe");
    const shown = frame.locator("nav button[aria-current=page]");
    for (const name of VIEWS) {
      await frame.locator("nav button", { hasText: name }).click();
      assert.equal(await shown.textContent(), name);
    }
    const undo = frame.getByRole("button", { name: "Undo" });
    await undo.click();
    assert.equal(await shown.textContent(), "Lens");
    await undo.click();
    await undo.click();
    assert.equal(await shown.textContent(), "Overview");
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test("a browser without DecompressionStream, a file that was cut", async () => {
    const context = await browser.newContext();
    await context.addInitScript(() => { delete globalThis.DecompressionStream; });
    const page = await context.newPage();
    await page.goto(fileUrl);
    assert.match(await page.getByRole("alert").textContent(), /DecompressionStream.*Chrome.*80.*Safari 16\.4.*Firefox 113/);
    await context.close();
    const { page: cut, context: other } = await open(browser, "about:blank", () => true);
    const text = readFileSync(file, "utf8").replace(/(id="data">.{400})[^<]*/, "$1");
    await cut.setContent(text);
    assert.match(await cut.getByRole("alert").textContent(), /cut short/);
    await other.close();
  });

  test("narrow and wide windows scroll down, not sideways", async () => {
    for (const width of [900, 1920]) {
      const { page, context } = await open(browser, fileUrl, onlyFile, { viewport: { width, height: 800 } });
      await ready(page);
      for (const key of ["1", "2", "3", "4"]) {
        await page.keyboard.press(key);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `view ${key} at ${width}: ${over} px too wide`);
      }
      await context.close();
    }
  });

  test("tokens that are blank, long or of other scripts", async () => {
    const odd = join(scratch, "odd.html");
    retrograd("flow", "  Ω 日本\n\tשלום é", "--html", odd, "--layers", "0");
    const { page, context, wrong } = await open(browser, pathToFileURL(odd).href, (u) => u.startsWith("file:"));
    await ready(page);
    const strip = await page.locator(".strip").innerText();
    assert.ok(strip.includes("␣") && strip.includes("↵") && strip.includes("⇥"), strip);
    assert.deepEqual(wrong, []);
    await context.close();
  });
});

describe("served", () => {
  let server;
  before(async () => { server = await serve(); });
  after(() => server?.stop());
  const own = (url) => url.startsWith(server.url);
  const link = () => `${server.url}#prompt=${encodeURIComponent(PROMPT)}&target=${encodeURIComponent(TARGET)}`;
  const started = async (page) => {
    await ready(page);
    await page.locator(".progress").waitFor({ state: "detached", timeout: 60_000 });
  };

  test("views by mouse and by keyboard, own origin only, accessible", async () => {
    const { page, context, wrong } = await open(browser, link(), own);
    await started(page);
    await visits(page, [...VIEWS, "Try"]);
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test("runs a prompt; refuses one with words that help; goes on", async () => {
    const { page, context } = await open(browser, link(), own);
    await started(page);
    await page.getByRole("textbox", { name: "target" }).fill(" Parisian");
    await page.getByRole("button", { name: "Run" }).click();
    assert.match(await page.getByRole("alert").textContent(), /' Parisian'.*token/);
    await page.getByRole("textbox", { name: "prompt" }).fill("The past tense of go is");
    await page.getByRole("textbox", { name: "target" }).fill("");
    await page.getByRole("button", { name: "Run" }).click();
    await page.locator(".strip button", { hasText: "past" }).waitFor();
    assert.match(page.url(), /prompt=The\+past/);
    await context.close();
  });

  test("before and after are the command's", async () => {
    const { page, context, wrong } = await open(browser, link(), own);
    await started(page);
    await page.keyboard.press("5");
    const side = (name) => page.getByRole("region", { name: `Prediction ${name}` });
    const loss = async (name) => Number(await side(name).locator("dd[data-value]").first().getAttribute("data-value"));
    const compare = async () => {
      await page.getByRole("button", { name: "Compare" }).click();
      await page.locator(".progress").waitFor({ state: "detached" });
      await side("after").waitFor();
    };
    const base = ["trace", PROMPT, "--target", TARGET];
    const best = json("attention", PROMPT, "--target", TARGET).heads[0];
    // The head that is chosen is the strongest one; the space bar silences it.
    await page.getByRole("application", { name: /^Heads to silence/ }).focus();
    await page.keyboard.press("Space");
    await compare();
    assert.equal(await loss("before"), json(...base).loss);
    assert.equal(await loss("after"), json(...base, "--ablate", `${best.layer}.${best.head}`).loss);
    // Attention patching with the pass's own R.
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "None" }).click();
    const maps = join(scratch, "maps.safetensors");
    retrograd(...base, "--out", maps);
    await page.getByRole("region", { name: "Patch attention" }).getByRole("combobox").selectOption("reversed");
    await page.getByRole("region", { name: "Patch attention" }).getByRole("spinbutton").fill("-4.5");
    await compare();
    assert.equal(await loss("after"), json(...base, "--patch", maps, "--alpha", "-4.5").loss);
    await page.getByRole("region", { name: "Patch attention" }).getByRole("combobox").selectOption("none");
    // A fact edited in, and the model as it was afterwards.
    const fact = await open(browser, `${server.url}#view=try&prompt=${encodeURIComponent(PROMPT)}&target=${encodeURIComponent(" Rome")}`, own);
    await started(fact.page);
    await fact.page.getByRole("checkbox").check();
    await fact.page.getByRole("button", { name: "Compare" }).click();
    const region = fact.page.getByRole("region", { name: "Prediction after" });
    await region.waitFor();
    const shown = Number(await region.locator("dd[data-value]").nth(1).getAttribute("data-value"));
    const edit = json("edit", PROMPT, "--target", " Rome", "--method", "shift", "--layers", "3", "--eta", "0.1", "--force", "--dry-run");
    const entry = edit.after ?? edit.edit?.after;
    assert.ok(Math.abs(shown - entry.target_probability) < 1e-6, `${shown} for ${entry.target_probability}`);
    await page.getByRole("button", { name: "Run" }).click();
    await started(page);
    await page.keyboard.press("1");
    await page.locator("dd", { hasText: json(...base).loss.toFixed(4) }).waitFor();
    assert.deepEqual(wrong, []);
    assert.match(fact.page.url(), /shift=1/);
    await fact.page.mouse.move(0, 0);
    assert.deepEqual(await axe(fact.page), []);
    await exports(fact.page);
    await fact.context.close();
    await context.close();
  });
});
