/** The list of conversations: loaded page by page, kept in step by events, and what one does to its rows. */

import { computed, effect, signal } from "@preact/signals";
import { ApiError } from "../app/api";
import { confirmed } from "../app/dialogs";
import { go } from "../app/router";
import { notify } from "../ui/notice";
import type { ChatBackend } from "./backend";
import type { Row } from "./model";
import { backend, onBrowser } from "./service";
import { t } from "./words";

const HIDDEN_MS = 60_000; // a tab that nobody looks at gives its connection back: browsers have six for a server

export const rows = signal<readonly Row[]>([]);
export const listState = signal<"loading" | "ready" | "failed">("loading");
const next = signal<string | null>(null);
export const hasMore = computed(() => next.value !== null);
/** Projects, prompts or the memory changed elsewhere: what shows them loads again. */
export const changedElsewhere = signal<{ what: string; times: number }>({ what: "", times: 0 });
/** A row changed: the open conversation wants to know. */
export const rowChanged = signal<Row | null>(null);

export function attachList(): void {
  effect(() => {
    const from = backend.value;
    rows.value = [];
    next.value = null;
    if (from === null) return;
    return follow(from);
  });
}

function follow(from: ChatBackend): () => void {
  let hush: (() => void) | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hear = () => {
    clearTimeout(timer);
    if (hush) return;
    hush = from.watchList((event) => {
      if (event.type === "conversation") put(event.conversation);
      else if (event.type === "deleted") drop(event.id);
      else if (event.what === "state") void load(from); // events were missed, or many came at once
      else changedElsewhere.value = { what: event.what, times: changedElsewhere.peek().times + 1 };
    });
    void load(from);
  };
  const rest = () => {
    hush?.();
    hush = null;
  };
  const seen = () => {
    if (document.visibilityState === "visible") hear();
    else timer = setTimeout(rest, HIDDEN_MS);
  };
  hear();
  document.addEventListener("visibilitychange", seen);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    rest();
  };
}

/** When a row changed last, by the number of the change: a list that was on its way does not know of it. */
const changes = new Map<string, number>();
let latest = 0;
const touch = (id: string) => changes.set(id, ++latest);

async function load(from: ChatBackend): Promise<void> {
  const asked = latest;
  const isNewer = ({ id }: Row) => (changes.get(id) ?? 0) > asked;
  try {
    const page = await from.list({});
    const known = new Set(page.items.map(({ id }) => id));
    const kept = rows.value.filter((row) => isNewer(row) || (!known.has(row.id) && next.peek() !== null));
    rows.value = inOrder([...page.items.filter((row) => !isNewer(row)), ...kept]);
    next.value = page.next;
    listState.value = "ready";
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (rows.value.length === 0) listState.value = "failed";
  }
}

export const reloadList = () => (backend.value ? load(backend.value) : Promise.resolve());

let loadingMore = false;

export async function loadMore(): Promise<void> {
  const before = next.value;
  if (loadingMore || before === null || !backend.value) return;
  loadingMore = true;
  try {
    const page = await backend.value.list({ before });
    const known = new Set(rows.value.map(({ id }) => id));
    rows.value = [...rows.value, ...page.items.filter(({ id }) => !known.has(id))];
    next.value = page.next;
  } finally {
    loadingMore = false;
  }
}

/** A row that is new or changed. Archived ones leave the list. */
export function put(row: Row): void {
  touch(row.id);
  rowChanged.value = row;
  const others = rows.value.filter(({ id }) => id !== row.id);
  if (row.archived || row.temporary) rows.value = others;
  else rows.value = inOrder([row, ...others]);
}

function drop(id: string): void {
  touch(id);
  rows.value = rows.value.filter((row) => row.id !== id);
}

const inOrder = (all: Row[]) => all.sort((a, b) => b.updated_at - a.updated_at);

// ---- what the reader does -----------------------------------------------------------------------------------

async function change(row: Row, changes: Partial<Row>): Promise<void> {
  put({ ...row, ...changes });
  try {
    put(await backend.value!.change(row.id, changes));
  } catch (error) {
    put(row);
    tell(error);
  }
}

export const rename = (row: Row, title: string) => (title.trim() && title.trim() !== row.title ? change(row, { title: title.trim() }) : undefined);
export const pin = (row: Row) => change(row, { pinned: !row.pinned });
export const moveTo = (row: Row, project: string | null) => change(row, { project_id: project });

export async function archive(row: Row): Promise<void> {
  await change(row, { archived: !row.archived });
  if (!row.archived) notify(t.value.archivedNow(titleOf(row)), { label: t.value.undo, run: () => void change({ ...row, archived: true }, { archived: false }) });
}

/** In this browser a deed can be undone; on a platform "delete" means it, so it is asked for. */
export async function remove(row: Row): Promise<void> {
  const local = onBrowser.value;
  const kept = local?.whole(row.id);
  const title = titleOf(row);
  const question = { title: t.value.removeTitle, text: t.value.removeText(title), action: t.value.remove, danger: true };
  if (!local && !(await confirmed(question))) return;
  try {
    await backend.value!.remove(row.id);
  } catch (error) {
    tell(error);
    return;
  }
  drop(row.id);
  if (location.pathname.endsWith(`/${row.id}`)) go("", { replace: true });
  if (local && kept) notify(t.value.removed(title), { label: t.value.undo, run: () => local.restore(kept) });
  else notify(t.value.removed(title));
}

export const titleOf = (row: { title: string }): string => row.title || t.value.untitled;

/** A deed failed: say so in a notice. Anything but a server's refusal is a mistake of ours. */
const NO_ROOM = "quota_reached"; // of conversations; uploads tell of theirs themselves

export function tell(error: unknown): void {
  if (!(error instanceof ApiError)) throw error;
  notify(error.status === null ? t.value.unreachable : told(error));
}

/** A refusal in the server's words, or in ours where we know what it means. */
export const told = ({ code, what, hint }: ApiError): string =>
  code === NO_ROOM ? t.value.full : [what, hint].filter(Boolean).join(" ");
