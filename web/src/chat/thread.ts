/**
 * The conversation that is open: its path of messages, kept in step with the server, and what one does in it.
 *
 * Each message is a signal of its own, so an answer that grows draws itself and nothing else. Pieces are gathered
 * and drawn about 25 times a second, less often where drawing takes long.
 */

import { batch, computed, effect, signal, type Signal, untracked } from "@preact/signals";
import { ApiError } from "../app/api";
import { preferences } from "../app/preferences";
import { address, go, match } from "../app/router";
import { notify } from "../ui/notice";
import type { Answering, ChatBackend, Taken, Turn } from "./backend";
import { draftOf, setDraft } from "./drafts";
import { put, rowChanged, tell, told } from "./list";
import { type AttachmentPart, type ChatEvent, type Conversation, type Message, newId, type Opened, type Settings } from "./model";
import { atMostEvery } from "./pace";
import { backend, model, openedWith, ready } from "./service";
import { t } from "./words";

const DRAW_MS = 40;

export const openId = computed(() => match("chat/:id", address.value.path)?.["id"] ?? null);
export const threadState = signal<"none" | "loading" | "ready" | "missing" | "failed">("none");
export const conversation = signal<Conversation | null>(null);
/** Ids of the messages that are shown, oldest first. */
export const path = signal<readonly string[]>([]);
export const earlier = signal<string | null>(null);
export const connectionLost = signal(false);
/** A message on its way to the server. */
export const sending = signal<{ text: string; attachments: AttachmentPart[] } | null>(null);
/** Parents whose answers stand side by side. */
export const sideBySide = signal<ReadonlySet<string>>(new Set());

const cells = new Map<string, Signal<Message>>();
const known = signal(0); // counts the changes of `cells`

export function cell(id: string): Signal<Message> | undefined {
  known.value;
  return cells.get(id);
}

const shown = computed(() => path.value.map((id) => cell(id)?.value).filter((each) => each !== undefined));
export const leaf = computed(() => shown.value.at(-1) ?? null);
export const hasPictures = computed(() => shown.value.some(({ parts }) => parts.some(({ type }) => type === "image")));
export const runningIds = computed(() => {
  known.value;
  return [...cells.values()].map(({ value }) => value).filter(({ state }) => state === "running").map(({ id }) => id);
});
export const streaming = computed(() => sending.value !== null || runningIds.value.length > 0);

/** Seeds of the next conversation: an assistant, a project, knowledge bases, or that it be temporary. */
export const seed = signal<{ temporary?: boolean; project_id?: string; assistant_id?: string; knowledge?: readonly string[] }>({});

/** Ids of the knowledge bases that the open conversation draws on, or the one that the next message begins. */
export const knowledge = computed(() => (conversation.value ? conversation.value.settings?.tools?.knowledge : seed.value.knowledge) ?? []);

// ---- opening ------------------------------------------------------------------------------------------------

export function attachThread(): void {
  effect(() => {
    const from = backend.value;
    const id = openId.value;
    if (from && (id !== conversation.peek()?.id || threadState.peek() === "none")) untracked(() => void show(from, id));
  });
  effect(watchOpen);
  effect(followRow);
}

async function show(from: ChatBackend, id: string | null): Promise<void> {
  closeTemporary();
  clear();
  if (id === null) {
    threadState.value = "ready";
    return;
  }
  threadState.value = "loading";
  try {
    const opened = await from.open(id, address.peek().query.get("at"));
    if (openId.peek() !== id) return;
    openedWith.value = opened.model;
    take(opened);
  } catch (error) {
    if (openId.peek() !== id) return;
    if (!(error instanceof ApiError)) throw error;
    threadState.value = error.status === 404 ? "missing" : "failed";
  }
}

export const tryOpening = () => backend.value && show(backend.value, openId.value);

function clear(): void {
  batch(() => {
    cells.clear();
    known.value = known.peek() + 1;
    path.value = [];
    earlier.value = null;
    conversation.value = null;
    openedWith.value = null;
    connectionLost.value = false;
    sideBySide.value = new Set();
  });
}

function take({ path: messages, earlier: before, ...rest }: Opened): void {
  batch(() => {
    conversation.value = rest;
    messages.forEach(keep);
    path.value = messages.map(({ id }) => id);
    earlier.value = before;
    threadState.value = "ready";
  });
}

function keep(message: Message): void {
  const old = cells.get(message.id);
  // Of a message that is being written, a reading may be older than what the stream has told since, even its end.
  const isStale = old !== undefined && message.state === "running" && (old.peek().state !== "running" || isNewer(message));
  if (old && !isStale) old.value = message;
  else if (!old) {
    cells.set(message.id, signal(message));
    known.value = known.peek() + 1;
  }
  for (const sibling of message.siblings) {
    const other = sibling === message.id ? undefined : cells.get(sibling);
    if (other && other.peek().siblings.length < message.siblings.length) other.value = { ...other.peek(), siblings: message.siblings };
  }
}

/** Events may have told more of a message than another answer of the server. */
const isNewer = ({ id, version }: Message) => (cells.get(id)?.peek().version ?? -1) > version;

/** Read the open path again: it changed elsewhere, or events were missed. */
async function refresh(): Promise<void> {
  const id = conversation.peek()?.id;
  if (!id || !backend.peek()) return;
  try {
    const opened = await backend.peek()!.open(id);
    if (conversation.peek()?.id !== id) return;
    const before = path.peek();
    take(opened);
    const first = opened.path[0];
    const from = first ? before.indexOf(first.id) : -1;
    if (from > 0) path.value = [...before.slice(0, from), ...path.value];
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}

let loadingEarlier = false;

export async function loadEarlier(): Promise<void> {
  const before = earlier.value;
  const id = conversation.value?.id;
  if (loadingEarlier || before === null || !id || !backend.value) return;
  loadingEarlier = true;
  try {
    const more = await backend.value.earlier(id, before);
    if (conversation.peek()?.id !== id) return;
    batch(() => {
      more.path.forEach(keep);
      path.value = [...more.path.map((each) => each.id), ...path.value];
      earlier.value = more.earlier;
    });
  } catch (error) {
    tell(error);
  } finally {
    loadingEarlier = false;
  }
}

// ---- events -------------------------------------------------------------------------------------------------

const watched = computed(() => {
  const id = conversation.value?.id ?? null;
  if (id === null || backend.value === null) return null;
  return backend.value.kind === "browser" || runningIds.value.length > 0 || conversation.value?.running ? id : null;
});

/** Listen while something is being written; in between, the list's events tell of changes. */
function watchOpen(): (() => void) | void {
  const id = watched.value;
  const from = backend.peek();
  if (id === null || from === null) return;
  const draw = atMostEvery(DRAW_MS, flush);
  const hush = from.watch(id, (event) => hear(event, draw.later, draw.now));
  return () => {
    hush();
    draw.now();
    draw.cancel();
    connectionLost.value = false;
  };
}

let gathered = new Map<string, Message>();

function hear(event: ChatEvent, later: () => void, now: () => void): void {
  if (event.type === "delta") {
    const message = gathered.get(event.id) ?? cells.get(event.id)?.peek();
    if (!message || message.state !== "running" || event.version <= message.version) return;
    gathered.set(event.id, grown(message, event));
    later();
    return;
  }
  now();
  if (event.type === "connection") connectionLost.value = event.lost;
  else if (event.type === "message") hearMessage(event.message);
  else if (event.type === "state") hearState(event.messages);
  else if (conversation.peek()) conversation.value = { ...conversation.peek()!, ...event.conversation };
}

function grown(message: Message, { version, text = "", reasoning = "", part }: Extract<ChatEvent, { type: "delta" }>): Message {
  return {
    ...message,
    version,
    text: message.text + text,
    reasoning: message.reasoning + reasoning,
    parts: part ? [...message.parts, part] : message.parts,
  };
}

function flush(): void {
  const pieces = gathered;
  gathered = new Map();
  batch(() => pieces.forEach(keep));
}

/** A message in a new state, or one that another tab or device added below what is shown. */
function hearMessage(message: Message): void {
  const isOrphan = message.parent_id !== null && !cells.has(message.parent_id) && sending.peek() === null;
  if (isOrphan) void refresh(); // its question was asked while nobody listened here
  batch(() => {
    keep(message);
    if (path.peek().includes(message.id) || message.parent_id !== (path.peek().at(-1) ?? null)) return;
    path.value = [...path.peek(), message.id];
  });
}

/** All that runs now. What this page takes for running and is not there has ended unheard. */
function hearState(running: Message[]): void {
  batch(() => running.forEach(hearMessage));
  const alive = new Set(running.map(({ id }) => id));
  const ended = runningIds.peek().filter((id) => !alive.has(id));
  if (ended.length > 0 || backend.peek()?.kind === "browser") void refresh();
  for (const id of ended) if (!path.peek().includes(id)) readBeside(id).catch(tell); // of those side by side, one is on the path
}

/** The list says that the open conversation changed, while this page was not listening to it. */
function followRow(): void {
  const row = rowChanged.value;
  const mine = conversation.peek();
  if (!row || !mine || row.id !== mine.id) return;
  const isNews = row.updated_at > mine.updated_at && backend.peek()?.kind === "server";
  const wasHeard = watched.peek() !== null;
  conversation.value = { ...mine, ...row };
  if (isNews && !wasHeard && sending.peek() === null) void refresh();
}

// ---- what the reader does -----------------------------------------------------------------------------------

const modelsToAsk = signal<readonly string[]>([]);
/** More than one model answers the next message, side by side. */
export const compared = computed(() => (modelsToAsk.value.length > 1 ? modelsToAsk.value : []));

export function compare(ids: readonly string[]): void {
  modelsToAsk.value = ids;
}

/** How the next turn is to be answered: what this browser prefers. The conversation's own settings are the server's to add. */
export function settingsNow(): Settings {
  const { temperature, maxTokens, thinking, effort, system, webSearch, pictures } = preferences.value;
  const kept = conversation.value?.settings;
  const wishes: Settings = {
    ...(temperature !== null && { temperature }),
    ...(maxTokens !== null && { max_tokens: maxTokens }),
    ...(thinking !== null && { thinking }),
    ...(effort !== null && thinking !== false && { effort }),
    ...(system.trim() && { system }),
    ...(pictures > 1 && { pictures }),
    ...(webSearch && { tools: { ...kept?.tools, web_search: true } }),
  };
  return backend.value?.kind === "server" ? wishes : { ...kept, ...wishes };
}

function answering(models: readonly string[] = []): Answering {
  const chosen = models.length > 0 ? [...models] : compared.value.length > 0 ? [...compared.value] : model.value ? [model.value.id] : [];
  return { models: chosen, settings: settingsNow(), client_id: newId("turn_") };
}

/** The turn that no answer came to: perhaps it was taken. Sent again it has the same name, and is the same turn. */
let unheard: { text: string; parent: string | null; conversation: string; client_id: string } | null = null;

/** Send a message; false: it was not taken, and is still a draft. */
export async function send(text: string, attachments: AttachmentPart[] = []): Promise<boolean> {
  if (streaming.value) return false;
  sending.value = { text, attachments };
  try {
    const from = await ready();
    const turn: Turn = { ...answering(), text, attachments: attachments.map((each) => each.file_id) };
    const id = conversation.value?.id ?? (await begin(from));
    const parent = leaf.value?.id ?? null;
    if (unheard?.text === text && unheard.parent === parent && unheard.conversation === id) turn.client_id = unheard.client_id;
    unheard = { text, parent, conversation: id, client_id: turn.client_id };
    const taken = await from.ask(id, parent, turn);
    unheard = null;
    added(taken, turn.models.length > 1);
    forgetSent(id, text, attachments);
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status !== null) unheard = null;
    notify(error.status === null ? t.value.notSent : told(error));
    giveBack(text, attachments);
    return false;
  } finally {
    sending.value = null;
  }
}

async function begin(from: ChatBackend): Promise<string> {
  const { knowledge: bases = [], ...where } = seed.value;
  const settings: Settings = bases.length > 0 ? { tools: { knowledge: [...bases] } } : {};
  const made = await from.create({ ...where, settings, model: model.value?.id ?? null });
  conversation.value = { ...made, settings };
  seed.value = {};
  setDraft(made.id, draftOf(null)); // until the message is taken
  setDraft(null, { text: "", attachments: [] });
  go(`chat/${made.id}`);
  return made.id;
}

/** What was sent is no draft any more; what was typed meanwhile is. */
function forgetSent(id: string, text: string, sent: readonly AttachmentPart[]): void {
  const draft = draftOf(id);
  const attachments = draft.attachments.filter(({ file_id }) => !sent.some((each) => each.file_id === file_id));
  setDraft(id, { text: draft.text.trim() === text ? "" : draft.text, attachments });
}

function giveBack(text: string, attachments: AttachmentPart[]): void {
  const id = conversation.peek()?.id ?? null;
  const typed = draftOf(id).text;
  if (typed.trim() !== text) setDraft(id, { text: [text, typed].filter(Boolean).join("\n\n"), attachments });
}

/** New messages at the end of what is shown, or in the place of what was shown from their parent on. */
function added({ user, answers }: Taken, beside: boolean): void {
  const first = user ?? answers[0];
  if (!first) return;
  batch(() => {
    const parent = path.peek().indexOf(first.parent_id ?? "");
    for (const message of [...(user ? [user] : []), ...answers]) keep(message);
    path.value = [...path.peek().slice(0, parent + 1), ...(user ? [user.id] : []), ...(answers[0] ? [answers[0].id] : [])];
    const under = answers[0]?.parent_id;
    if (beside && under) sideBySide.value = new Set(sideBySide.peek()).add(under);
  });
}

export async function answerAgain(message: Message, models: readonly string[] = []): Promise<void> {
  if (streaming.value || !backend.value || !conversation.value) return;
  try {
    added(await backend.value.again(message, conversation.value.id, answering(models)), models.length > 1);
  } catch (error) {
    tell(error);
  }
}

export async function editMessage(message: Message, text: string): Promise<boolean> {
  if (streaming.value || !backend.value || !conversation.value) return false;
  const attachments = message.parts.filter((part) => part.type === "attachment").map(({ file_id }) => file_id);
  try {
    added(await backend.value.edit(message, conversation.value.id, { ...answering(), text, attachments }), compared.value.length > 1);
    return true;
  } catch (error) {
    tell(error);
    return false;
  }
}

export async function chooseKnowledge(bases: readonly string[]): Promise<void> {
  const open = conversation.value;
  if (!open) {
    seed.value = { ...seed.value, knowledge: bases };
    return;
  }
  const settings: Settings = { ...open.settings, tools: { ...open.settings?.tools, knowledge: [...bases] } };
  const show = (chosen: Settings) => {
    if (conversation.peek()?.id === open.id) conversation.value = { ...conversation.peek()!, settings: chosen };
  };
  show(settings);
  try {
    await backend.value!.change(open.id, { settings });
  } catch (error) {
    show(open.settings);
    tell(error);
  }
}

export async function stopAll(): Promise<void> {
  await Promise.all(runningIds.value.map((id) => backend.value?.stop(id).catch(tell)));
}

/** Show another question or answer in the same place, with what followed it. */
export async function turnTo(sibling: string): Promise<void> {
  const id = conversation.value?.id;
  if (!id || !backend.value) return;
  try {
    const opened = await backend.value.open(id, sibling);
    if (conversation.peek()?.id !== id) return;
    take(opened);
    const end = opened.path.at(-1);
    if (end) await backend.value.change(id, { leaf_id: end.id });
  } catch (error) {
    tell(error);
  }
}

/** A message that is not on the shown path: another answer that stands beside it. */
export async function fetchBeside(id: string): Promise<void> {
  if (!cells.has(id)) await readBeside(id);
}

async function readBeside(id: string): Promise<void> {
  const open = conversation.peek()?.id;
  if (!open || !backend.value) return;
  const found = (await backend.value.open(open, id)).path.find((message) => message.id === id);
  if (found && conversation.peek()?.id === open) keep(found);
}

export function toggleSideBySide(parent: string): void {
  const next = new Set(sideBySide.value);
  if (!next.delete(parent)) next.add(parent);
  sideBySide.value = next;
}

/** A temporary chat ends when it is left. */
function closeTemporary(): void {
  const left = conversation.peek();
  if (left?.temporary && left.id !== openId.peek()) void backend.peek()?.remove(left.id).catch(tell);
}

export { put as putRow };
