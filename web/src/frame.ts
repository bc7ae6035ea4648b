/**
 * The script of frame.html, a page without an origin: a model's HTML and SVG run in it, Mermaid draws in it. It knows
 * nothing but what it is sent, and its policy gives it no network.
 */

import type { FrameResult, FrameTask } from "./chat/frame";

const tell = (result: FrameResult) => parent.postMessage(result, "*"); // the parent checks who speaks

addEventListener("message", (event: MessageEvent<FrameTask>) => {
  if (event.source !== parent) return;
  const task = event.data;
  if (task.type === "mermaid") void draw(task);
  else if (task.type === "run") void import("./runner").then(({ run }) => run(task.source, tell));
  else show(task.type === "svg" ? svgPage(task.source) : task.source);
});

/** The page becomes what was written, with its scripts; the policy that it came with stays. */
function show(source: string): void {
  document.open();
  document.write(source);
  document.close();
}

const svgPage = (svg: string) =>
  `<!doctype html><meta charset="utf-8"><style>html,body{height:100%;margin:0}body{display:grid;place-items:center;padding:1rem;box-sizing:border-box}svg{max-width:100%;max-height:100%}</style>${svg}`;

async function draw({ id, source, dark }: Extract<FrameTask, { type: "mermaid" }>): Promise<void> {
  try {
    const { default: mermaid } = await import("mermaid");
    mermaid.initialize({
      startOnLoad: false,
      securityLevel: "strict",
      layout: "dagre", // the other one, ELK, is not built in (vite.config.ts): no diagram may ask for it
      secure: ["secure", "securityLevel", "startOnLoad", "maxTextSize", "maxEdges", "suppressErrorRendering", "layout"],
      theme: dark ? "dark" : "neutral",
      htmlLabels: false, // an image shows no HTML inside of SVG
      flowchart: { htmlLabels: false },
      fontFamily: "system-ui, sans-serif",
    });
    const { svg } = await mermaid.render(`diagram-${id}`, source);
    tell({ type: "drawn", id, svg: sized(svg) });
  } catch (error) {
    document.getElementById(`ddiagram-${id}`)?.remove(); // what Mermaid leaves behind of a failed drawing
    tell({ type: "failed", id, message: error instanceof Error ? error.message : String(error) });
  }
}

/** An image needs a size of its own; Mermaid says "100%". */
function sized(svg: string): string {
  const [, , width, height] = /viewBox="([-\d.]+) ([-\d.]+) ([\d.]+) ([\d.]+)"/.exec(svg)?.slice(1) ?? [];
  if (!width || !height) return svg;
  return svg.replace(/<svg([^>]*)>/, (_, attributes: string) => {
    const rest = attributes.replace(/ (?:width|height|style)="[^"]*"/g, "");
    return `<svg${rest} width="${width}" height="${height}">`;
  });
}

tell({ type: "ready" });
