/**
 * The two calls this page makes: the list of models, and a streamed chat completion (OpenAI wire).
 *
 * Addresses are relative to the page, so it also works behind a path prefix.
 */

import { ApiError, reach, refusal } from "../../app/api";
import { isObject, textOf as text } from "../../app/json";
import type { Model } from "../model";
import { readEvents } from "../sse";

export interface WireMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** One step of a stream. */
export interface Piece {
  text?: string;
  reasoning?: string;
  toolCalls?: { index: number; id?: string; name?: string; arguments?: string }[];
  finish?: string;
  usage?: { prompt: number; cached: number; completion: number; reasoning: number };
}

/** The stream ended before the answer was complete. */
export class StreamCut extends Error {}

export interface ChatOptions {
  model: string;
  messages: WireMessage[];
  temperature: number | null;
  maxTokens: number | null;
  thinking: boolean | null;
}

export async function listModels(signal?: AbortSignal): Promise<Model[]> {
  const response = await reach("v1/models", signal ? { signal } : {});
  if (!response.ok) throw await refusal(response);
  const body: unknown = await response.json();
  const entries = isObject(body) && Array.isArray(body["data"]) ? body["data"] : [];
  return entries.filter(isObject).map((entry) => ({
    id: text(entry["id"]) ?? "",
    name: text(entry["title"]) ?? text(entry["id"]) ?? "",
    licence: text(entry["licence"]),
    source: text(entry["source"]),
    context: typeof entry["max_model_len"] === "number" ? entry["max_model_len"] : null,
    thinks: entry["thinks"] !== false, // other servers do not say; a model that does not think ignores the switch
  }));
}

/** The pieces of an answer. Ends after [DONE] or a finish reason; StreamCut when the body ends before. */
export async function* streamChat(options: ChatOptions, signal: AbortSignal): AsyncGenerator<Piece> {
  const response = await reach("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(chatBody(options)),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  if (response.body === null) throw new StreamCut();
  let finished = false;
  for await (const { data } of readEvents(response.body)) {
    if (data === "[DONE]") return;
    const piece = parseChunk(data, response.status);
    finished ||= piece.finish !== undefined;
    yield piece;
  }
  if (!finished) throw new StreamCut();
}

/** Settings at "the model's own" are left out, so that the server decides. */
export function chatBody(options: ChatOptions): Record<string, unknown> {
  return {
    model: options.model,
    messages: options.messages,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    ...(options.temperature !== null && { temperature: options.temperature }),
    ...(options.maxTokens !== null && { max_tokens: options.maxTokens }),
    ...(options.thinking !== null && { thinking: { type: options.thinking ? "enabled" : "disabled" } }),
  };
}

/** One `data:` of the stream. An error object in it raises ApiError. */
export function parseChunk(data: string, status: number): Piece {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError(status, data.slice(0, 200));
  }
  if (!isObject(chunk)) throw new ApiError(status, data.slice(0, 200));
  if (chunk["error"]) throw new ApiError(status, errorMessage(chunk) ?? data.slice(0, 200));
  const piece: Piece = {};
  const choice: unknown = Array.isArray(chunk["choices"]) ? chunk["choices"][0] : undefined;
  if (isObject(choice)) readChoice(choice, piece);
  if (isObject(chunk["usage"])) piece.usage = readUsage(chunk["usage"]);
  return piece;
}

function readChoice(choice: Record<string, unknown>, piece: Piece): void {
  const finish = text(choice["finish_reason"]);
  if (finish !== null) piece.finish = finish;
  const delta = choice["delta"];
  if (!isObject(delta)) return;
  const content = text(delta["content"]);
  if (content) piece.text = content;
  const reasoning = text(delta["reasoning_content"]);
  if (reasoning) piece.reasoning = reasoning;
  if (Array.isArray(delta["tool_calls"])) piece.toolCalls = delta["tool_calls"].filter(isObject).map(readCall);
}

function readUsage(usage: Record<string, unknown>): NonNullable<Piece["usage"]> {
  const count = (of: unknown, name: string) => (isObject(of) && typeof of[name] === "number" ? of[name] : 0);
  return {
    prompt: count(usage, "prompt_tokens"),
    cached: count(usage["prompt_tokens_details"], "cached_tokens"),
    completion: count(usage, "completion_tokens"),
    reasoning: count(usage["completion_tokens_details"], "reasoning_tokens"),
  };
}

function readCall(call: Record<string, unknown>, position: number): NonNullable<Piece["toolCalls"]>[number] {
  const made = isObject(call["function"]) ? call["function"] : {};
  const id = text(call["id"]);
  const name = text(made["name"]);
  const args = text(made["arguments"]);
  return {
    index: typeof call["index"] === "number" ? call["index"] : position,
    ...(id !== null && { id }),
    ...(name !== null && { name }),
    ...(args !== null && { arguments: args }),
  };
}

function errorMessage(body: unknown): string | null {
  if (!isObject(body)) return null;
  const error = body["error"];
  if (isObject(error)) return text(error["message"]);
  return text(error) ?? text(body["message"]) ?? text(body["detail"]);
}
