// The README's pictures of the page, from the shipped model.
//
//     node tests/page/pictures.mjs [FOLDER]      docs/images by default
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { launch, retrograd, root, scratch, serve } from "./browser.mjs";

const folder = process.argv[2] ?? join(root, "docs/images");
const file = join(scratch, "france.html");
retrograd("flow", "The capital of France is", "--target", " Paris", "--html", file);
const server = await serve();
const browser = await launch();

async function picture(name, url, height, { colorScheme = "light", before } = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height }, colorScheme });
  const page = await context.newPage();
  await page.goto(url);
  await page.locator("nav[aria-label=Views]").waitFor();
  await before?.(page);
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(folder, `page-${name}.png`) });
  await context.close();
}

const fromFile = (hash) => `${pathToFileURL(file).href}${hash}`;
await picture("overview", fromFile("#view=overview"), 880);
await picture("heads", fromFile("#view=heads&layer=1&head=2&cell=4.3"), 700);
await picture("lens", fromFile("#view=lens&site=mlp.c_proj.delta&layer=2"), 860);
await picture("flow", fromFile("#view=flow&focus=2"), 780, {
  // The strongest neuron of the layer's MLP, with what it reads as.
  before: async (page) => {
    const box = await page.locator("canvas.overlay").boundingBox();
    await page.waitForTimeout(300);
    await page.mouse.move(box.x + box.width * 0.805, box.y + box.height * 0.42);
  },
});
await picture("backward", fromFile("#view=flow&focus=3&colour=backward"), 760, { colorScheme: "dark" });
const change = "prompt=The+capital+of+France+is&target=+Paris&ablate=0.0,0.1&layer=1&head=2";
await picture("try", `${server.url}#view=try&${change}`, 1180, { before: (page) => page.locator("[aria-label='Prediction after']").waitFor() });
await browser.close();
server.stop();
