import type { FlowNode } from "./types";

/** Whether one of the tokens that a node writes has this text, or the node is called so. */
export function inText(node: FlowNode, text: string): boolean {
  const wanted = text.toLowerCase();
  const written = node.bottom_first ? node.bottom : node.top;
  if (written.some((token) => (token.text ?? `#${token.id}`).toLowerCase().includes(wanted))) return true;
  return node.id.toLowerCase() === wanted || node.label.toLowerCase() === wanted;
}
