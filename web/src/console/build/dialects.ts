/** The four dialects of the playground: where each is spoken, how a question is asked, where the answer stands. */

import { isObject, type Json, textOf } from "../../app/json";

export type Dialect = "openai" | "responses" | "anthropic" | "zhipu";

export interface Question {
  model: string;
  text: string;
  stream: boolean;
}

interface Manner {
  path: string;
  body: (question: Question) => Json;
  /** The text in a whole answer, or in one event of a stream. */
  said: (data: Json) => string;
}

const MOST_TOKENS = 512;

const asked = (text: string) => [{ role: "user", content: text }];

const list = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);

function chosen(data: Json): string {
  return list(data["choices"])
    .map((choice) => (isObject(choice["delta"]) ? choice["delta"] : choice["message"]))
    .map((message) => (isObject(message) ? (textOf(message["content"]) ?? "") : ""))
    .join("");
}

function responded(data: Json): string {
  if (data["type"] === "response.output_text.delta") return textOf(data["delta"]) ?? "";
  return list(data["output"])
    .flatMap((item) => list(item["content"]))
    .map((part) => textOf(part["text"]) ?? "")
    .join("");
}

function messaged(data: Json): string {
  if (isObject(data["delta"])) return textOf(data["delta"]["text"]) ?? "";
  return list(data["content"])
    .map((part) => textOf(part["text"]) ?? "")
    .join("");
}

export const MANNERS: Record<Dialect, Manner> = {
  openai: {
    path: "v1/chat/completions",
    body: ({ model, text, stream }) => ({
      model,
      messages: asked(text),
      max_completion_tokens: MOST_TOKENS,
      ...(stream && { stream, stream_options: { include_usage: true } }),
    }),
    said: chosen,
  },
  responses: {
    path: "v1/responses",
    body: ({ model, text, stream }) => ({ model, input: text, max_output_tokens: MOST_TOKENS, ...(stream && { stream }) }),
    said: responded,
  },
  anthropic: {
    path: "api/anthropic/v1/messages",
    body: ({ model, text, stream }) => ({ model, max_tokens: MOST_TOKENS, messages: asked(text), ...(stream && { stream }) }),
    said: messaged,
  },
  zhipu: {
    path: "api/paas/v4/chat/completions",
    body: ({ model, text, stream }) => ({ model, messages: asked(text), max_tokens: MOST_TOKENS, ...(stream && { stream }) }),
    said: chosen,
  },
};

export const DIALECTS = Object.keys(MANNERS) as Dialect[];

/** The text of an answer as it came: JSON, or the events of a stream as far as they are there. */
export function textIn(dialect: Dialect, raw: string): string {
  const { said } = MANNERS[dialect];
  const whole = parsed(raw);
  if (whole) return said(whole);
  return raw
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => parsed(line.slice(5)))
    .map((data) => (data && data["type"] !== "response.completed" ? said(data) : ""))
    .join("");
}

function parsed(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null; // the last line of a stream, half there
  }
}
