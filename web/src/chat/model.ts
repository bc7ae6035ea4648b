/**
 * What a conversation is made of, as the platform's chat API spells it. The browser's own store speaks the same.
 *
 * Messages are a tree: every message but the first names its parent, and siblings are other questions or other
 * answers in the same place. A path leads from the first message to a leaf; the reader sees one path.
 */

export type MessageState = "running" | "done" | "stopped" | "failed" | "interrupted";

export interface Usage {
  input_uncached: number;
  cache_read: number;
  output_text: number;
  output_reasoning: number;
  /** Pictures that were drawn. */
  images?: number;
}

export interface Cost {
  nano: number | null;
  credits: number | null;
  /** How it came about, line by line. */
  arithmetic: string[];
}

export interface MessageError {
  code: string | null;
  message: string;
  hint: string | null;
}

export interface AttachmentPart {
  type: "attachment";
  file_id: string;
  name: string;
  bytes: number;
  media_type: string;
  state: "reading" | "ready" | "failed";
  error?: string | null;
}

export interface ImagePart {
  type: "image";
  file_id?: string;
  url?: string;
  alt?: string;
}

export interface ToolCallPart {
  type: "tool_call";
  id: string;
  server?: string | null;
  name: string;
  arguments: string;
  output?: string | null;
  error?: string | null;
  state?: "running" | "done" | "failed" | null;
  /** Where in the text it happened, in characters. */
  at?: number;
}

export interface CitationPart {
  type: "citation";
  id: string;
  title: string;
  url?: string | null;
  document_id?: string | null;
  start?: number | null;
  end?: number | null;
  quote?: string | null;
}

/** So many of the oldest messages did not fit into the model's context. */
export interface CutPart {
  type: "cut";
  messages: number;
}

export type Part = AttachmentPart | ImagePart | ToolCallPart | CitationPart | CutPart;

export interface Message {
  id: string;
  parent_id: string | null;
  role: "user" | "assistant";
  text: string;
  reasoning: string;
  parts: Part[];
  model: string | null;
  state: MessageState;
  error: MessageError | null;
  siblings: string[];
  created_at: number;
  finish: string | null;
  usage: Usage | null;
  ttft_ms: number | null;
  reasoning_ms: number | null;
  duration_ms: number | null;
  cost: Cost | null;
  version: number;
  rating?: 1 | -1 | null;
}

export interface Settings {
  thinking?: boolean | null;
  effort?: "low" | "medium" | "high" | null;
  temperature?: number | null;
  top_p?: number | null;
  max_tokens?: number | null;
  pictures?: number | null;
  tools?: { web_search?: boolean; knowledge?: string[]; mcp?: unknown[] };
  system?: string | null;
}

export interface Row {
  id: string;
  title: string;
  model: string | null;
  project_id: string | null;
  assistant_id: string | null;
  pinned: boolean;
  archived: boolean;
  temporary: boolean;
  running: boolean;
  created_at: number;
  updated_at: number;
}

export interface Conversation extends Row {
  settings: Settings;
}

export interface Opened extends Conversation {
  /** Oldest first; the last one is the leaf. */
  path: Message[];
  /** The message that `path` goes on before; null: it begins at the beginning. */
  earlier: string | null;
}

export interface Model {
  id: string;
  name: string;
  licence?: string | null;
  source?: string | null;
  context?: number | null;
  /** null: nobody knows. */
  sees_images?: boolean | null;
  thinks?: boolean | null;
  /** It answers with pictures. */
  draws?: boolean;
}

export type ChatEvent =
  | { type: "state"; messages: Message[] }
  | { type: "delta"; id: string; version: number; text?: string; reasoning?: string; part?: Part }
  | { type: "message"; message: Message }
  | { type: "conversation"; conversation: Partial<Conversation> }
  | { type: "connection"; lost: boolean };

export type ListEvent =
  | { type: "conversation"; conversation: Row }
  | { type: "deleted"; id: string }
  | { type: "changed"; what: string };

export function newId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID needs https, a LAN address has none
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newMessage(given: Pick<Message, "role" | "parent_id" | "text"> & Partial<Message>): Message {
  return {
    id: newId("msg_"),
    reasoning: "",
    parts: [],
    model: null,
    state: "done",
    error: null,
    siblings: [],
    created_at: Date.now(),
    finish: null,
    usage: null,
    ttft_ms: null,
    reasoning_ms: null,
    duration_ms: null,
    cost: null,
    version: 0,
    ...given,
  };
}

/** Whether it says anything: what it was made from (sources, what was left out) is not yet an answer. */
export function hasContent({ text, reasoning, parts }: Message): boolean {
  return text !== "" || reasoning !== "" || parts.some(({ type }) => type !== "citation" && type !== "cut");
}

/** Tokens per second from the first piece to the last; null where that would say nothing. */
export function tokensPerSecond({ usage, ttft_ms, duration_ms }: Message): number | null {
  if (usage === null || duration_ms === null || ttft_ms === null) return null;
  const tokens = usage.output_text + usage.output_reasoning;
  const seconds = (duration_ms - ttft_ms) / 1000;
  return tokens > 1 && seconds > 0.05 ? (tokens - 1) / seconds : null; // below that one sees the network's rhythm
}

export function titleFrom(question: string): string {
  const line = question.trim().split(/\s*\n/, 1)[0] ?? "";
  const letters = Array.from(line);
  return letters.length > 60 ? letters.slice(0, 59).join("") + "…" : line;
}
