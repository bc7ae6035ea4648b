/**
 * The sandboxed page that draws what a model wrote (frame.html): diagrams here, artifacts in their panel. It has no
 * origin and no network; it gets a source by message and answers with what it made of it.
 */

export const FRAME = () => new URL("frame.html", document.baseURI).href;

export type FrameTask =
  | { type: "html" | "svg"; source: string }
  | { type: "run"; source: string }
  | { type: "mermaid"; id: number; source: string; dark: boolean };

export type FrameResult =
  | { type: "ready" }
  | { type: "said"; level: string; text: string }
  | { type: "ran"; error: string | null }
  | { type: "drawn"; id: number; svg: string } | { type: "failed"; id: number; message: string };

let frame: Promise<Window> | null = null;
let next = 1;
const waiting = new Map<number, { resolve: (svg: string) => void; reject: (error: Error) => void }>();

/** A Mermaid diagram as SVG text, safe to show as an image: nothing in an image runs. */
export async function drawDiagram(source: string, dark: boolean): Promise<string> {
  frame ??= hiddenFrame();
  const target = await frame;
  const id = next++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    target.postMessage({ type: "mermaid", id, source, dark } satisfies FrameTask, "*"); // it has no origin to name
  });
}

function hiddenFrame(): Promise<Window> {
  const element = document.createElement("iframe");
  element.className = "visually-hidden diagram-frame";
  element.setAttribute("sandbox", "allow-scripts");
  element.setAttribute("aria-hidden", "true");
  element.tabIndex = -1;
  element.src = FRAME();
  return new Promise((resolve) => {
    addEventListener("message", (event) => {
      if (event.source !== element.contentWindow) return;
      const result = event.data as FrameResult;
      if (result.type === "ready") resolve(element.contentWindow!);
      else if (result.type === "drawn" || result.type === "failed") {
        const { id } = result;
        if (result.type === "drawn") waiting.get(id)?.resolve(result.svg);
        else waiting.get(id)?.reject(new Error(result.message));
        waiting.delete(id);
      }
    });
    document.body.append(element);
  });
}
