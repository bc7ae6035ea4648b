/**
 * Server-sent events from a byte stream, at any chunking.
 *
 * Follows the event stream grammar of the HTML standard as far as a chat needs it: LF, CRLF and CR line ends,
 * comments, names, ids, several data lines per event, UTF-8 split anywhere. `retry` is ignored. A line is searched
 * once however many chunks it comes in: a snapshot may be one line of many megabytes.
 */

export interface ServerEvent {
  event: string;
  id: string | null;
  data: string;
}

/** Feed text, get each event that became complete. */
export class EventParser {
  private rest = "";
  private searched = 0;
  private data: string[] = [];
  private event = "";
  private id: string | null = null;
  private started = false;

  push(text: string): ServerEvent[] {
    if (!this.started && text) {
      this.started = true;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    const complete: ServerEvent[] = [];
    this.rest += text;
    let from = 0;
    for (;;) {
      const end = nextLineEnd(this.rest, Math.max(from, this.searched));
      if (end === null) break;
      this.line(this.rest.slice(from, end.at), complete);
      from = end.next;
    }
    this.rest = this.rest.slice(from);
    this.searched = this.rest.endsWith("\r") ? this.rest.length - 1 : this.rest.length;
    return complete;
  }

  private line(line: string, complete: ServerEvent[]): void {
    this.searched = 0;
    if (line === "") {
      if (this.data.length > 0) complete.push({ event: this.event || "message", id: this.id, data: this.data.join("\n") });
      this.data = [];
      this.event = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id") this.id = value;
  }
}

/** A CR at the very end may be half of a CRLF, so it does not end a line yet. */
function nextLineEnd(text: string, from: number): { at: number; next: number } | null {
  const lf = text.indexOf("\n", from);
  const before = lf < 0 ? text.length : lf;
  const cr = text.slice(from, before).indexOf("\r");
  if (cr >= 0) {
    const at = from + cr;
    if (at + 1 === text.length) return null;
    return { at, next: text[at + 1] === "\n" ? at + 2 : at + 1 };
  }
  return lf < 0 ? null : { at: lf, next: lf + 1 };
}

/** The events of a response body. Ends when the body ends; cancels it when the caller stops. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    void reader.cancel().catch(() => undefined); // already closed or aborted: nothing left to free
  }
}
