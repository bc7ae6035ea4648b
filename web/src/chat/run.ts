/** JavaScript of an answer, run in a page without an origin or a network, in a worker that can be ended. */

import { FRAME, type FrameResult, type FrameTask } from "./frame";

export type Ended = "done" | "failed" | "stopped" | "late" | "loud";
export type Line = { level: "log" | "warn" | "error"; text: string };

export const LIMIT_S = 10;
const MOST_LINES = 500;
const MOST_CHARS = 50_000; // of all lines

/** Begins it; the answer stops it. What it says comes line by line, and then how it ended, once. */
export function runScript(source: string, hear: (line: Line) => void, end: (how: Ended) => void): () => void {
  const frame = document.createElement("iframe");
  frame.className = "visually-hidden";
  frame.setAttribute("sandbox", "allow-scripts");
  frame.setAttribute("aria-hidden", "true");
  frame.tabIndex = -1;
  let lines = 0;
  let chars = 0;
  let over = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const finish = (how: Ended) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    removeEventListener("message", listen);
    frame.remove(); // its worker ends with it, in whatever loop it is
    end(how);
  };
  const say = ({ level, text }: Line) => {
    const room = MOST_CHARS - chars;
    chars += text.length;
    lines++;
    hear({ level, text: text.slice(0, room) });
    if (chars >= MOST_CHARS || lines >= MOST_LINES) finish("loud");
  };
  const listen = (event: MessageEvent<FrameResult>) => {
    if (over || event.source !== frame.contentWindow) return;
    const told = event.data;
    if (told.type === "ready") {
      frame.contentWindow!.postMessage({ type: "run", source } satisfies FrameTask, "*"); // it has no origin to name
      timer = setTimeout(() => finish("late"), LIMIT_S * 1000);
    } else if (told.type === "said") {
      say({ level: told.level === "warn" || told.level === "error" ? told.level : "log", text: String(told.text) });
    } else if (told.type === "ran") {
      if (told.error !== null) say({ level: "error", text: String(told.error) });
      finish(told.error === null ? "done" : "failed");
    }
  };
  addEventListener("message", listen);
  frame.src = FRAME();
  document.body.append(frame);
  return () => finish("stopped");
}
