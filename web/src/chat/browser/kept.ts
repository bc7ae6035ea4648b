/** A conversation as the browser keeps it: format 2, a tree of messages. Format 1, exchanges in a row, is read too. */

import { isObject, type Json } from "../../app/json";
import { type Conversation, type Message, newMessage, type ToolCallPart } from "../model";

export const FORMAT = 2;

export interface Kept {
  format: typeof FORMAT;
  conversation: Conversation;
  messages: Message[];
  leaf: string | null;
}

/** A stored text as a conversation; null for anything that is not one, or of a format newer than this page. */
export function parseKept(text: string): Kept | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  if (value["format"] === 1) return fromExchanges(value);
  const { format, conversation, messages } = value;
  if (format !== FORMAT || !isObject(conversation) || typeof conversation["id"] !== "string") return null;
  if (typeof conversation["updated_at"] !== "number" || !Array.isArray(messages) || !messages.every(isMessage)) return null;
  return value as unknown as Kept;
}

function isMessage(value: unknown): boolean {
  return isObject(value) && ["id", "role", "text", "reasoning", "state"].every((key) => typeof value[key] === "string") && Array.isArray(value["parts"]);
}

/** What was running when the page went away will not go on: say so. */
export function settled(kept: Kept): Kept {
  if (!kept.messages.some(({ state }) => state === "running")) return kept;
  const messages = kept.messages.map((each): Message => (each.state === "running" ? { ...each, state: "interrupted" } : each));
  return { ...kept, messages };
}

export function newConversation(id: string, now: number): Conversation {
  return {
    id,
    title: "",
    model: null,
    project_id: null,
    assistant_id: null,
    pinned: false,
    archived: false,
    temporary: false,
    running: false,
    created_at: now,
    updated_at: now,
    settings: {},
  };
}

function fromExchanges(old: Json): Kept | null {
  const { id, title, created, updated, exchanges } = old;
  if (typeof id !== "string" || typeof title !== "string" || typeof updated !== "number" || !Array.isArray(exchanges)) return null;
  const messages: Message[] = [];
  let leaf: string | null = null;
  for (const exchange of exchanges) {
    if (!isObject(exchange) || typeof exchange["question"] !== "string" || !Array.isArray(exchange["answers"])) return null;
    const asked = newMessage({ role: "user", parent_id: leaf, text: exchange["question"], created_at: updated });
    const answers = exchange["answers"].filter(isObject).map((answer) => fromAnswer(answer, asked.id, updated));
    messages.push(asked, ...answers);
    leaf = answers[Number(exchange["shown"]) || 0]?.id ?? asked.id;
  }
  const made = typeof created === "number" ? created : updated;
  const conversation = { ...newConversation(id, made), title, updated_at: updated };
  return { format: FORMAT, conversation, messages, leaf };
}

const STATES = { done: "done", stopped: "stopped", failed: "failed" } as const;

function fromAnswer(answer: Json, parent: string, now: number): Message {
  const calls = Array.isArray(answer["toolCalls"]) ? answer["toolCalls"].filter(isObject) : [];
  const problem = isObject(answer["problem"]) ? answer["problem"] : null;
  const number = (name: string) => (typeof answer[name] === "number" ? (answer[name] as number) : null);
  const first = number("firstMs");
  const reasoned = number("reasonedMs");
  return newMessage({
    role: "assistant",
    parent_id: parent,
    text: String(answer["text"] ?? ""),
    reasoning: String(answer["reasoning"] ?? ""),
    parts: calls.map((call): ToolCallPart => ({ type: "tool_call", id: String(call["id"]), name: String(call["name"]), arguments: String(call["arguments"]) })),
    model: typeof answer["model"] === "string" ? answer["model"] : null,
    state: STATES[answer["state"] as keyof typeof STATES] ?? "interrupted",
    error: problem && { code: problem["status"] === null ? "unreachable" : String(problem["status"]), message: String(problem["message"]), hint: null },
    created_at: now,
    finish: typeof answer["finish"] === "string" ? answer["finish"] : null,
    usage: { input_uncached: number("promptTokens") ?? 0, cache_read: 0, output_text: number("tokens") ?? 0, output_reasoning: 0 },
    ttft_ms: first,
    reasoning_ms: reasoned === null ? null : reasoned - (first ?? 0),
    duration_ms: number("lastMs"),
  });
}
