import { expect, test } from "vitest";
import { EventParser, readEvents, type ServerEvent } from "../src/chat/sse";

const STREAM = ': keep-alive\n\ndata: {"a":"天空"}\r\n\r\nid: 7\ndata: one\ndata:two\n\ndata\n\nevent: x\ndata: 🙂\r\rdata: [DONE]\n\n';
const EVENTS = [
  { event: "message", id: null, data: '{"a":"天空"}' },
  { event: "message", id: "7", data: "one\ntwo" },
  { event: "message", id: "7", data: "" },
  { event: "x", id: "7", data: "🙂" },
  { event: "message", id: "7", data: "[DONE]" },
];

function body(bytes: Uint8Array, cuts: number[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      let from = 0;
      for (const to of [...cuts, bytes.length]) {
        controller.enqueue(bytes.slice(from, to));
        from = to;
      }
      controller.close();
    },
  });
}

async function collect(events: AsyncIterable<ServerEvent>): Promise<ServerEvent[]> {
  const all: ServerEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

test("events are the same at every chunking of the bytes", async () => {
  const bytes = new TextEncoder().encode(STREAM);
  const everyByte = bytes.slice(1).map((_, i) => i + 1);
  expect(await collect(readEvents(body(bytes, Array.from(everyByte))))).toEqual(EVENTS);
  for (let cut = 0; cut <= bytes.length; cut++) {
    expect(await collect(readEvents(body(bytes, [cut])))).toEqual(EVENTS);
  }
});

test("an event that was never closed is not handed out", () => {
  const parser = new EventParser();
  expect(parser.push("data: whole\n\ndata: half").map(({ data }) => data)).toEqual(["whole"]);
});

test("a byte order mark at the start is not part of the first field", () => {
  expect(new EventParser().push("\uFEFFdata: x\n\n").map(({ data }) => data)).toEqual(["x"]);
});

test("leaving the loop early frees the body", async () => {
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")),
    cancel: () => void (cancelled = true),
  });
  for await (const _ of readEvents(endless)) break;
  expect(cancelled).toBe(true);
});
