// Debian's Chromium, the command, and a page that says what went wrong on it.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const retrogradPath = process.env.RETROGRAD ?? join(root, "target/debug/retrograd");
export const scratch = mkdtempSync(join(tmpdir(), "retrograd-page-"));

/** Runs the command; returns what it printed. */
export function retrograd(...args) {
  return execFileSync(retrogradPath, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "pipe"] });
}

export function json(...args) {
  return JSON.parse(retrograd(...args, "--json"));
}

export async function launch() {
  const path = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!path) throw new Error("there is no Chromium: install the package 'chromium', or name one in CHROMIUM");
  return chromium.launch({ executablePath: path, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"] });
}

/** Starts `retrograd serve` on a free port; resolves to its address. */
export async function serve(...args) {
  const child = spawn(retrogradPath, ["serve", "--port", "0", ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (piece) => {
      text += piece;
      const found = text.match(/http:\/\/\S+/);
      if (found) resolve(found[0]);
    });
    child.on("exit", (code) => reject(new Error(`retrograd serve ended with ${code}`)));
  });
  return { url, stop: () => child.kill() };
}

/** A page, and what must stay empty: errors on the console, requests that leave `allowed`. */
export async function open(browser, url, allowed, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => { if (message.type() === "error") wrong.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const target = request.url();
    if (!/^(data|blob):/.test(target) && !allowed(target)) wrong.push(`request: ${target}`);
  });
  await page.goto(url);
  return { page, context, wrong };
}

/** What axe calls serious or critical. */
export async function axe(page) {
  // The page's own policy forbids foreign scripts; the debugger's is none.
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter((violation) => ["serious", "critical"].includes(violation.impact))
    .map((violation) => `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => `${node.target} ${node.any?.[0]?.message ?? ""}`).join(" | ")}`);
}
