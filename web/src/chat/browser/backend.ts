/**
 * Conversations in this browser, answers from the server of one model.
 *
 * A stream belongs to its conversation, not to the view: it goes on while another one is open. It is saved about
 * twice a second, and once more when the page is hidden or left, so a reload loses nothing that had arrived.
 */

import { signal } from "@preact/signals";
import { ApiError } from "../../app/api";
import { browserShelf } from "../../app/shelf";
import { preferences } from "../../app/preferences";
import type { Answering, ChatBackend, ListQuery, Seed, Server, Taken, Turn } from "../backend";
import { type ChatEvent, type Conversation, hasContent, type ListEvent, type Message, newId, newMessage, type Opened, titleFrom } from "../model";
import { atMostEvery } from "../pace";
import { extended } from "./answer";
import { type Kept, FORMAT, newConversation, parseKept, settled } from "./kept";
import { ConversationStore, type Saved } from "./store";
import { byId, leafBelow, pathTo, withSiblings } from "./tree";
import { listModels, streamChat, type WireMessage } from "./wire";

const SAVE_MS = 500;
const RETRY_SERVER_MS = 3000;

export class BrowserBackend implements ChatBackend {
  readonly kind = "browser";
  readonly server = signal<Server>({ state: "connecting" });
  private readonly store = new ConversationStore(browserShelf());
  private readonly kept = new Map<string, Kept>();
  private readonly streams = new Map<string, AbortController>(); // by message
  private readonly hearers = new Map<string, Set<(event: ChatEvent) => void>>();
  private readonly listHearers = new Set<(event: ListEvent) => void>();
  private readonly leaving = new Set<() => void>();
  private left = false;
  private retry: ReturnType<typeof setTimeout> | undefined;

  /** Told when the browser could not keep something. */
  constructor(private readonly complain: (saved: Saved) => void) {
    for (const kept of this.store.all()) this.kept.set(kept.conversation.id, settled(kept));
  }

  start(): void {
    const saveAll = () => this.leaving.forEach((saveNow) => saveNow());
    addEventListener("pagehide", () => {
      saveAll();
      this.left = true;
    });
    addEventListener("pageshow", () => (this.left = false));
    document.addEventListener("visibilitychange", saveAll);
    addEventListener("online", () => void this.find());
    addEventListener("storage", (event) => this.otherTab(event));
    void this.find();
  }

  async find(): Promise<void> {
    clearTimeout(this.retry);
    try {
      this.server.value = { state: "ready", models: await listModels() };
    } catch {
      this.server.value = { state: "down" };
      this.retry = setTimeout(() => void this.find(), RETRY_SERVER_MS);
    }
  }

  async list({ archived = false }: ListQuery) {
    const items = [...this.kept.values()].map(({ conversation }) => conversation).filter((each) => each.archived === archived);
    return { items: items.sort((a, b) => b.updated_at - a.updated_at), next: null };
  }

  async create({ model = null, settings = {}, temporary = false }: Seed): Promise<Conversation> {
    const conversation = { ...newConversation(newId("conv_"), Date.now()), model, settings, temporary };
    this.kept.set(conversation.id, { format: FORMAT, conversation, messages: [], leaf: null });
    return conversation;
  }

  async open(id: string, leaf?: string | null): Promise<Opened> {
    const kept = this.find1(id);
    const end = leaf ? leafBelow(kept.messages, leaf) : kept.leaf;
    return { ...kept.conversation, path: withSiblings(kept.messages, pathTo(byId(kept.messages), end)), earlier: null };
  }

  async earlier() {
    return { path: [], earlier: null };
  }

  async change(id: string, { leaf_id, ...changes }: Partial<Conversation> & { leaf_id?: string }): Promise<Conversation> {
    const kept = this.kept.get(id);
    if (!kept) throw missing();
    const conversation = { ...kept.conversation, ...changes };
    this.put({ ...kept, conversation, leaf: leaf_id ?? kept.leaf });
    this.tellList(conversation);
    this.tell(id, { type: "conversation", conversation: changes });
    return conversation;
  }

  async remove(id: string): Promise<void> {
    for (const { id: message } of this.find1(id).messages) this.streams.get(message)?.abort();
    this.kept.delete(id);
    this.store.remove(id);
    this.listHearers.forEach((hear) => hear({ type: "deleted", id }));
  }

  /** Bring a removed conversation back, as it was. */
  restore(kept: Kept): void {
    this.put(settled(kept));
    this.tellList(kept.conversation);
  }

  whole = (id: string): Kept => this.find1(id);

  async ask(id: string, parent: string | null, turn: Turn): Promise<Taken> {
    const kept = this.find1(id);
    const user = newMessage({ role: "user", parent_id: parent, text: turn.text });
    const conversation = { ...kept.conversation, title: kept.conversation.title || titleFrom(turn.text) };
    this.put({ ...kept, conversation, messages: [...kept.messages, user], leaf: user.id });
    this.tell(id, { type: "conversation", conversation: { title: conversation.title } });
    return this.answer(id, user, turn);
  }

  async edit(message: Message, id: string, turn: Turn): Promise<Taken> {
    const kept = this.find1(id);
    const first = kept.messages.filter(({ parent_id }) => parent_id === null);
    if (message.parent_id === null && first.length === 1 && kept.conversation.title === titleFrom(first[0]!.text)) {
      this.put({ ...kept, conversation: { ...kept.conversation, title: "" } }); // named after the question: named anew
    }
    return this.ask(id, message.parent_id, turn);
  }

  async again(message: Message, id: string, how: Answering): Promise<Taken> {
    const kept = this.find1(id);
    const user = message.role === "user" ? message : byId(kept.messages).get(message.parent_id ?? "");
    if (!user) throw missing();
    const empty = new Set(kept.messages.filter((each) => each.parent_id === user.id && !hasContent(each)).map((each) => each.id));
    this.put({ ...kept, messages: kept.messages.filter((each) => !empty.has(each.id)) });
    return { answers: (await this.answer(id, user, how)).answers };
  }

  async stop(message: string): Promise<void> {
    this.streams.get(message)?.abort();
  }

  watch(id: string, hear: (event: ChatEvent) => void): () => void {
    const all = this.hearers.get(id) ?? new Set();
    this.hearers.set(id, all.add(hear));
    return () => all.delete(hear);
  }

  watchList(hear: (event: ListEvent) => void): () => void {
    this.listHearers.add(hear);
    return () => this.listHearers.delete(hear);
  }

  private find1(id: string): Kept {
    const kept = this.kept.get(id);
    if (!kept) throw missing();
    return kept;
  }

  private async answer(id: string, user: Message, how: Answering): Promise<Taken> {
    const models = how.models.length > 0 ? how.models : [""];
    const answers = models.map((model) => newMessage({ role: "assistant", parent_id: user.id, text: "", model: model || null, state: "running" }));
    const kept = this.find1(id);
    const conversation = { ...kept.conversation, updated_at: Date.now(), running: true };
    this.put({ ...kept, conversation, messages: [...kept.messages, ...answers], leaf: answers[0]!.id });
    this.tellList(conversation);
    for (const answer of answers) void this.stream(id, answer.id, how);
    const { messages } = this.find1(id);
    return { user: withSiblings(messages, [user])[0]!, answers: withSiblings(messages, answers) };
  }

  private async stream(id: string, message: string, how: Answering): Promise<void> {
    const controller = new AbortController();
    this.streams.set(message, controller);
    const sent = performance.now();
    const saveSoon = atMostEvery(SAVE_MS, () => this.save(id));
    this.leaving.add(saveSoon.now);
    saveSoon.now();
    try {
      const model = await this.modelToAsk(this.message(id, message)?.model ?? null);
      this.replace(id, message, (old) => ({ ...old, model }));
      for await (const piece of streamChat({ ...this.request(id, message, how), model }, controller.signal)) {
        const before = this.message(id, message);
        if (!before) return; // the conversation was removed
        const after = extended(before, piece, performance.now() - sent);
        this.replace(id, message, () => after);
        this.tell(id, {
          type: "delta",
          id: message,
          version: after.version,
          ...(piece.text && { text: piece.text }),
          ...(piece.reasoning && { reasoning: piece.reasoning }),
        });
        if (piece.toolCalls) this.tellMessage(id, message);
        saveSoon.later();
      }
      this.replace(id, message, (old) => ({ ...old, state: "done" }));
    } catch (error) {
      if (error instanceof ApiError && error.status === null) void this.find();
      this.replace(id, message, (old) => ended(old, error, controller.signal.aborted));
    } finally {
      this.streams.delete(message);
      this.leaving.delete(saveSoon.now);
      this.rest(id, message);
      if (!this.left) saveSoon.now(); // a page that is going away has saved what was there as "running"
      saveSoon.cancel();
    }
  }

  /** The stream has ended: tell the view and the list. */
  private rest(id: string, message: string): void {
    const kept = this.kept.get(id);
    if (!kept) return;
    const conversation = { ...kept.conversation, running: kept.messages.some((each) => this.streams.has(each.id)) };
    this.kept.set(id, { ...kept, conversation });
    this.tellMessage(id, message);
    this.tellList(conversation);
  }

  private request(id: string, message: string, { settings }: Answering) {
    const { messages } = this.find1(id);
    const path = pathTo(byId(messages), message).slice(0, -1);
    return {
      messages: wireMessages(path, settings.system ?? preferences.peek().system),
      temperature: settings.temperature ?? null,
      maxTokens: settings.max_tokens ?? null,
      thinking: settings.thinking ?? null,
    };
  }

  /** The model that will answer. A page that has not heard from the server yet asks it now. */
  private async modelToAsk(wanted: string | null): Promise<string> {
    if (this.server.value.state !== "ready") this.server.value = { state: "ready", models: await listModels() };
    const { models } = this.server.value as Extract<Server, { state: "ready" }>;
    const chosen = models.find(({ id }) => id === wanted) ?? models[0];
    if (!chosen) throw new ApiError(404, "", null, "no_model");
    return chosen.id;
  }

  private message(id: string, message: string): Message | undefined {
    return this.kept.get(id)?.messages.find((each) => each.id === message);
  }

  private replace(id: string, message: string, change: (old: Message) => Message): void {
    const kept = this.kept.get(id);
    if (!kept) return;
    this.kept.set(id, { ...kept, messages: kept.messages.map((each) => (each.id === message ? change(each) : each)) });
  }

  private tell(id: string, event: ChatEvent): void {
    this.hearers.get(id)?.forEach((hear) => hear(event));
  }

  private tellMessage(id: string, message: string): void {
    const { messages } = this.find1(id);
    const whole = messages.find((each) => each.id === message);
    if (whole) this.tell(id, { type: "message", message: withSiblings(messages, [whole])[0]! });
  }

  private tellList(conversation: Conversation): void {
    this.listHearers.forEach((hear) => hear({ type: "conversation", conversation }));
  }

  private put(kept: Kept): void {
    this.kept.set(kept.conversation.id, kept);
    this.save(kept.conversation.id);
  }

  /** Save if it still exists: a stream that ends after "delete" must not bring its conversation back. */
  private save(id: string): void {
    const kept = this.kept.get(id);
    if (!kept || kept.conversation.temporary || kept.messages.length === 0) return;
    const saved = this.store.save({ ...kept, conversation: { ...kept.conversation, running: false } });
    for (const dropped of saved.dropped) {
      this.kept.delete(dropped);
      this.listHearers.forEach((hear) => hear({ type: "deleted", id: dropped }));
    }
    if (!saved.kept || saved.dropped.length > 0) this.complain(saved);
  }

  private otherTab(event: StorageEvent): void {
    const id = ConversationStore.idOf(event.key);
    if (id === null || this.kept.get(id)?.messages.some((each) => this.streams.has(each.id))) return;
    const kept = parseKept(event.newValue ?? "");
    if (!kept) {
      this.kept.delete(id);
      this.listHearers.forEach((hear) => hear({ type: "deleted", id }));
      return;
    }
    this.kept.set(id, kept);
    this.tellList(kept.conversation);
    this.tell(id, { type: "conversation", conversation: {} });
    this.tell(id, { type: "state", messages: [] });
  }
}

const missing = () => new ApiError(404, "");

function ended(message: Message, error: unknown, aborted: boolean): Message {
  if (aborted) return { ...message, state: "stopped" };
  if (error instanceof ApiError && error.status !== null) return failed(message, error);
  if (hasContent(message)) return { ...message, state: "interrupted" };
  return { ...message, state: "failed", error: { code: "unreachable", message: "", hint: null } };
}

function failed(message: Message, { status, what, hint, code }: ApiError): Message {
  return { ...message, state: "failed", error: { code: code === "no_model" ? code : String(status), message: what, hint } };
}

/** What the model reads: the system prompt, then the path. Answers without text stay out. */
export function wireMessages(path: readonly Message[], system: string): WireMessage[] {
  const messages: WireMessage[] = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { role, text } of path) if (role === "user" || text) messages.push({ role, content: text });
  return messages;
}
