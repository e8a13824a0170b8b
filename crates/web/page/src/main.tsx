import { render } from "preact";
import { App } from "./app";
import { decode } from "./payload";
import { failure, loadModel, requestOf, served, trace } from "./server";
import { before, show } from "./state";

const root = document.getElementById("app")!;

function refuse(text: string): void {
  const paragraph = document.createElement("p");
  paragraph.className = "failure";
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = text;
  root.replaceChildren(paragraph);
}

async function start(): Promise<void> {
  if (typeof DecompressionStream === "undefined") {
    return refuse(
      "This page needs a browser that can decompress data (DecompressionStream): Chrome or Edge 80, Safari 16.4, Firefox 113, or later.",
    );
  }
  if (served) {
    before();
    render(<App />, root);
    try {
      await loadModel();
    } catch (error) {
      failure.value = (error as Error).message;
      return;
    }
    await trace(requestOf(), false);
    return;
  }
  const data = document.getElementById("data")?.textContent;
  if (!data) return refuse("This file holds no data: it was cut short. Write it again.");
  try {
    show(await decode(data), false);
  } catch {
    return refuse("The data in this file is damaged: it was cut short or changed. Write it again.");
  }
  render(<App />, root);
}

void start();
