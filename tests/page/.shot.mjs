import { launch } from "/work/e/tests/page/browser.mjs";
const [,, out, url, ...hashes] = process.argv;
const b = await launch();
for (const theme of (process.env.THEMES ?? "light").split(",")) {
  const c = await b.newContext({ viewport: { width: Number(process.env.W ?? 1360), height: Number(process.env.H ?? 900) }, colorScheme: theme });
  const p = await c.newPage();
  p.on("console", (m) => { if (m.type() === "error") console.log("console:", m.text()); });
  p.on("pageerror", (e) => console.log("error:", e.message));
  for (const [i, h] of hashes.entries()) {
    await p.goto("about:blank"); await p.goto(`${url}${h}`);
    await p.locator("nav[aria-label=Views]").waitFor({ timeout: 30000 }).catch((e) => console.log(e.message));
    await p.waitForTimeout(600);
    if (process.env.HOVER && h.includes("view=flow")) { const [x, y] = process.env.HOVER.split(",").map(Number); await p.mouse.move(x, y); await p.waitForTimeout(200); }
    await p.screenshot({ path: `${out}-${theme}-${i}.png`, fullPage: !process.env.CLIP });
  }
  await c.close();
}
await b.close();
