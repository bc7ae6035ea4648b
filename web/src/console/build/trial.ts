/** One request of the playground, from the press of the button to the last byte. */

import { failureOf, type Failure } from "../../app/useSend";
import { call } from "./workKey";

export interface Trial {
  state: "running" | "done" | "stopped" | "failed";
  status: number | null;
  headers: [string, string][];
  raw: string;
  begun: number;
  firstMs: number | null;
  lastMs: number | null;
  failure: Failure | null;
}

interface Request {
  org: string;
  project: string;
  path: string;
  body: object;
  signal: AbortSignal;
}

/** Calls `show` whenever there is more to see. */
export async function tryOut({ org, project, path, body, signal }: Request, show: (trial: Trial) => void): Promise<void> {
  const begun = performance.now();
  let trial: Trial = { state: "running", status: null, headers: [], raw: "", begun, firstMs: null, lastMs: null, failure: null };
  const told = (change: Partial<Trial>) => show((trial = { ...trial, ...change }));
  told({});
  try {
    const response = await call(path, { org, project, method: "POST", body, signal });
    told({ status: response.status, headers: [...response.headers.entries()] });
    const decoder = new TextDecoder();
    const reader = response.body?.getReader();
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
      told({ raw: trial.raw + decoder.decode(read.value, { stream: true }), firstMs: trial.firstMs ?? performance.now() - begun });
    }
    told({ state: "done", raw: trial.raw + decoder.decode(), lastMs: performance.now() - begun });
  } catch (error) {
    if (signal.aborted) told({ state: "stopped", lastMs: performance.now() - begun });
    else if (error instanceof TypeError) told({ state: "failed", lastMs: performance.now() - begun }); // the connection broke
    else told({ state: "failed", failure: failureOf(error), lastMs: performance.now() - begun });
  }
}
