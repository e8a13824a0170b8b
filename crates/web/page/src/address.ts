/**
 * Where the selection is written down: in the page's address, so that a link reproduces the view and the browser's *Back*
 * takes it back. A frame that a notebook fills with a page has no address of its own; there it is kept here.
 */

/** Selections before the present one, and that, where the address cannot hold them. */
const kept: string[] = [""];

// Of a frame with `srcdoc`: a hash would be taken as one of the page around it, which is refused.
const addressable = location.protocol !== "about:";

export function hash(): string {
  return addressable ? location.hash : (kept.at(-1) ?? "");
}

/** Puts another selection in the place of the present one. */
export function replace(hash: string, state: unknown = addressable ? history.state : null): void {
  if (addressable) history.replaceState(state, "", hash);
  else kept[kept.length - 1] = hash;
}

/** Goes on to another selection, the `step`th. */
export function push(hash: string, step: number): void {
  if (addressable) history.pushState(step, "", hash);
  else kept.push(hash);
}

/** Goes back to the selection before; `returned` is told the step that it is. */
export function back(): void {
  if (addressable) return history.back();
  if (kept.length > 1) kept.pop();
  returned(kept.length - 1);
}

let returned: (step: number) => void = () => undefined;

/** Has `then` called when another selection is in the address without the page's doing. */
export function onReturn(then: (step: number) => void): void {
  returned = then;
  addEventListener("popstate", (event) => then(typeof event.state === "number" ? event.state : 0));
}
