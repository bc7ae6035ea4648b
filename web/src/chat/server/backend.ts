/** Conversations on the platform (api/chat). Answers are written there, whoever listens; this page only hears of them. */

import { signal } from "@preact/signals";
import { ApiError, api, type Query } from "../../app/api";
import { organisation } from "../../app/session";
import type { Answering, ChatBackend, ListQuery, Seed, Server, Taken, Turn } from "../backend";
import type { ChatEvent, Conversation, ListEvent, Message, Model, Opened, Part, Row } from "../model";
import { listen } from "./events";

const RETRY_SERVER_MS = 3000;

export interface Me {
  household: boolean;
  models: Model[];
  default_model: string | null;
  features: { web_search?: boolean; reader?: boolean; images?: boolean; voice?: boolean };
  limits: { message_bytes: number; attachment_bytes?: number; attachments: number };
}

/** An address of the chat API, in the organisation that was chosen. */
export const at = (path: string): string => {
  const org = organisation.peek()?.id;
  return `api/chat/${path}${org ? `${path.includes("?") ? "&" : "?"}org=${encodeURIComponent(org)}` : ""}`;
};

export class ServerBackend implements ChatBackend {
  readonly kind = "server";
  readonly server = signal<Server>({ state: "connecting" });
  readonly me = signal<Me | null>(null);
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(me: Me) {
    this.know(me);
  }

  start(): void {
    addEventListener("online", () => void this.find());
  }

  async find(): Promise<void> {
    clearTimeout(this.retry);
    try {
      this.know(await api.get<Me>(at("me")));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.server.value = { state: "down" };
      this.retry = setTimeout(() => void this.find(), RETRY_SERVER_MS);
    }
  }

  list({ project, archived, before }: ListQuery) {
    const query: Query = { project, archived: archived || undefined, before, limit: 50 };
    return api.get<{ items: Row[]; next: string | null }>(at("conversations"), query);
  }

  create(seed: Seed): Promise<Conversation> {
    return api.post(at("conversations"), seed);
  }

  open(id: string, leaf?: string | null): Promise<Opened> {
    return api.get(at(`conversations/${id}`), { leaf, limit: 60 });
  }

  async earlier(id: string, before: string) {
    return api.get<{ path: Message[]; earlier: string | null }>(at(`conversations/${id}/messages`), { before, limit: 60 });
  }

  change(id: string, changes: Partial<Conversation> & { leaf_id?: string }): Promise<Conversation> {
    return api.patch(at(`conversations/${id}`), changes);
  }

  remove(id: string): Promise<void> {
    return api.delete(at(`conversations/${id}`));
  }

  ask(id: string, parent: string | null, turn: Turn): Promise<Taken> {
    return api.post(at(`conversations/${id}/turns`), { parent_id: parent, ...spelled(turn), text: turn.text, attachments: turn.attachments });
  }

  edit(message: Message, _: string, turn: Turn): Promise<Taken> {
    return api.post(at(`messages/${message.id}/edit`), { ...spelled(turn), text: turn.text, attachments: turn.attachments });
  }

  again(message: Message, _: string, how: Answering): Promise<Taken> {
    return api.post(at(`messages/${message.id}/answers`), spelled(how));
  }

  async stop(message: string): Promise<void> {
    await api.post(at(`messages/${message}/stop`));
  }

  watch(id: string, hear: (event: ChatEvent) => void): () => void {
    return listen(at(`conversations/${id}/events`), {
      connection: (lost) => hear({ type: "connection", lost }),
      event: ({ event, data }) => {
        const told = chatEvent(event, data);
        if (told) hear(told);
      },
    });
  }

  watchList(hear: (event: ListEvent) => void): () => void {
    return listen(at("events"), {
      connection: () => undefined,
      event: ({ event, data }) => {
        const told = JSON.parse(data) as unknown;
        if (event === "conversation") hear({ type: "conversation", conversation: told as Row });
        else if (event === "deleted") hear({ type: "deleted", id: (told as { id: string }).id });
        else hear({ type: "changed", what: event });
      },
    });
  }

  private know(me: Me): void {
    this.me.value = me;
    const first = me.models.filter(({ id }) => id === me.default_model);
    this.server.value = { state: "ready", models: [...first, ...me.models.filter(({ id }) => id !== me.default_model)] };
  }
}

/** One model is `model`, several are `models`. */
function spelled({ models, settings, client_id }: Answering) {
  const which = models.length > 1 ? { models } : models[0] ? { model: models[0] } : {};
  return { ...which, settings, client_id };
}

function chatEvent(event: string, data: string): ChatEvent | null {
  const told = JSON.parse(data) as unknown;
  if (event === "state") return { type: "state", messages: (told as { messages: Message[] }).messages };
  if (event === "delta") return { type: "delta", ...(told as { id: string; version: number; text?: string; reasoning?: string; part?: Part }) };
  if (event === "message") return { type: "message", message: told as Message };
  if (event === "conversation") return { type: "conversation", conversation: told as Partial<Conversation> };
  return null; // a kind of event that is newer than this page
}
