/**
 * A stream of events that comes back by itself: after a lost connection, a server's restart, a laptop's sleep. It
 * says which event it heard last, so nothing is missed and nothing comes twice.
 */

import { ApiError, comeBack, reach, refusal } from "../../app/api";
import { readEvents, type ServerEvent } from "../sse";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 40_000; // the server says something every 15 s, a comment at least

interface Hearing {
  event: (event: ServerEvent) => void;
  connection: (lost: boolean) => void;
}

export function listen(path: string, hear: Hearing): () => void {
  const controller = new AbortController();
  void keepListening(path, hear, controller.signal);
  return () => controller.abort();
}

async function keepListening(path: string, hear: Hearing, ended: AbortSignal): Promise<void> {
  let last: string | null = null;
  let wait = FIRST_WAIT_MS;
  while (!ended.aborted) {
    const began = performance.now();
    try {
      await once(path, last, ended, (event) => {
        last = event.id ?? last;
        hear.event(event);
      }, () => hear.connection(false)); // prettier-ignore
    } catch (error) {
      if (ended.aborted) return;
      if (error instanceof ApiError && error.status === 404) return; // what it told of is gone
      hear.connection(true);
      if (error instanceof ApiError && error.status === 401) await comeBack().catch(() => false);
    }
    if (ended.aborted) return;
    wait = performance.now() - began > LONGEST_WAIT_MS ? FIRST_WAIT_MS : Math.min(wait * 2, LONGEST_WAIT_MS);
    await soon(wait * (0.5 + Math.random() / 2), ended);
  }
}

async function once(path: string, last: string | null, ended: AbortSignal, hear: (event: ServerEvent) => void, open: () => void) {
  const silent = new AbortController();
  const stop = () => silent.abort();
  ended.addEventListener("abort", stop);
  let timer = setTimeout(stop, SILENCE_MS);
  try {
    const headers = { accept: "text/event-stream", ...(last && { "last-event-id": last }) };
    const response = await reach(path, { headers, signal: silent.signal });
    if (!response.ok || !response.body) throw await refusal(response);
    open();
    const touched = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          clearTimeout(timer);
          timer = setTimeout(stop, SILENCE_MS);
          controller.enqueue(chunk);
        },
      }),
    );
    for await (const event of readEvents(touched)) hear(event);
  } finally {
    clearTimeout(timer);
    ended.removeEventListener("abort", stop);
  }
}

/** Wait, but no longer than until the network or the reader is back. */
function soon(ms: number, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", seen);
      ended.removeEventListener("abort", done);
      resolve();
    };
    const seen = () => document.visibilityState === "visible" && done();
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", seen);
    ended.addEventListener("abort", done);
  });
}
