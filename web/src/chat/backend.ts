/** Where conversations live and answers come from: a platform's chat API, or this browser and a model's server. */

import type { ReadonlySignal } from "@preact/signals";
import type { ChatEvent, Conversation, ListEvent, Message, Model, Opened, Row, Settings } from "./model";

export type Server = { state: "connecting" } | { state: "ready"; models: Model[] } | { state: "down" };

export interface Turn {
  text: string;
  attachments: string[];
  /** More than one: as many answers, side by side. */
  models: string[];
  settings: Settings;
  /** Makes it safe to send twice. */
  client_id: string;
}

export type Answering = Pick<Turn, "models" | "settings" | "client_id">;

export interface Taken {
  user?: Message;
  answers: Message[];
}

export interface Seed {
  model?: string | null;
  project_id?: string | null;
  assistant_id?: string | null;
  temporary?: boolean;
  settings?: Settings;
}

export interface ListQuery {
  project?: string | null;
  archived?: boolean;
  before?: string | null;
}

export interface ChatBackend {
  /** browser: no accounts, no folders, no search; what the page can do follows from it. */
  readonly kind: "browser" | "server";
  readonly server: ReadonlySignal<Server>;
  start(): void;
  /** Ask again which models there are. */
  find(): Promise<void>;

  list(query: ListQuery): Promise<{ items: Row[]; next: string | null }>;
  create(seed: Seed): Promise<Conversation>;
  open(id: string, leaf?: string | null): Promise<Opened>;
  earlier(id: string, before: string): Promise<{ path: Message[]; earlier: string | null }>;
  change(id: string, changes: Partial<Conversation> & { leaf_id?: string }): Promise<Conversation>;
  remove(id: string): Promise<void>;

  ask(id: string, parent: string | null, turn: Turn): Promise<Taken>;
  edit(message: Message, conversation: string, turn: Turn): Promise<Taken>;
  again(message: Message, conversation: string, how: Answering): Promise<Taken>;
  stop(message: string): Promise<void>;

  watch(id: string, hear: (event: ChatEvent) => void): () => void;
  watchList(hear: (event: ListEvent) => void): () => void;
}
