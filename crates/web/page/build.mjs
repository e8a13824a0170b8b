// Bundles the page into dist/page.js and dist/page.css. With --check: proves that the committed bundle is what the
// source makes, and changes nothing.
import { build } from "esbuild";
import { readFileSync, readdirSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const result = await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.tsx" },
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome100", "firefox113", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  write: false,
  metafile: true,
});
const css = await build({
  absWorkingDir: here, entryPoints: ["src/style.css"], outdir: "dist", minify: true, write: false, charset: "utf8",
});

/** The licences of what was bundled, for everybody who passes the page on: they stand in it. */
function licences() {
  const packages = new Set(Object.keys(result.metafile.inputs).flatMap((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? []));
  const byText = new Map();
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence file`);
    const text = readFileSync(join(folder, file), "utf8").replaceAll("\r", "").trim();
    byText.set(text, [...(byText.get(text) ?? []), name]);
  }
  return [...byText].map(([text, names]) => `${names.join(", ")}\n\n${text}`).join("\n\n----\n\n");
}

const notice = `/*! This page contains\n\n${licences().replaceAll("*/", "* /").replaceAll("</", "< /")}\n*/\n`;
const files = [["page.js", notice + result.outputFiles[0].text], ["page.css", css.outputFiles[0].text]];
let differs = false;
for (const [name, text] of files) {
  const path = join(here, "dist", name);
  if (process.argv.includes("--check")) {
    let kept = "";
    try { kept = readFileSync(path, "utf8"); } catch { /* missing differs */ }
    if (kept !== text) { console.error(`${name}: is not what the source makes; run 'node build.mjs' and commit dist/`); differs = true; }
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`${name} ${(text.length / 1000).toFixed(1)} kB`);
  }
}
if (differs) process.exit(1);
if (process.argv.includes("--check")) console.log("page: the committed bundle is what the source makes");
