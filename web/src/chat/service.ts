/** Which backend this page talks to; made once it is known who is here. */

import { computed, effect, signal } from "@preact/signals";
import { ApiError, once } from "../app/api";
import { prefer, preferences } from "../app/preferences";
import { organisation, type Session, session } from "../app/session";
import { notify } from "../ui/notice";
import type { ChatBackend, Server } from "./backend";
import { BrowserBackend } from "./browser/backend";
import type { Saved } from "./browser/store";
import type { Model } from "./model";
import { at, type Me, ServerBackend } from "./server/backend";
import { t } from "./words";

export const backend = signal<ChatBackend | null>(null);
export const onServer = computed(() => (backend.value instanceof ServerBackend ? backend.value : null));
export const onBrowser = computed(() => (backend.value instanceof BrowserBackend ? backend.value : null));
export const me = computed(() => onServer.value?.me.value ?? null);

/** Whether messages may carry files. */
export const takesFiles = computed(() => me.value?.limits.attachment_bytes !== undefined);

export const server = computed<Server>(() => backend.value?.server.value ?? { state: "connecting" });
export const models = computed<Model[]>(() => (server.value.state === "ready" ? server.value.models : []));
/** The model of the conversation that was opened, until the reader chooses another one. */
export const openedWith = signal<string | null>(null);
/** The conversation's model, else the chosen one, else the first: of those that the server has. */
export const model = computed<Model | null>(() => {
  const known = (wanted: string | null) => models.value.find(({ id }) => id === wanted);
  return known(openedWith.value) ?? known(preferences.value.model) ?? models.value[0] ?? null;
});

export const modelName = (id: string | null): string => models.value.find((each) => each.id === id)?.name ?? id ?? "";

export const drawsPictures = (id: string | null): boolean => models.value.some((each) => each.id === id && each.draws === true);

export function chooseModel(id: string): void {
  openedWith.value = null;
  prefer({ model: id });
}

/** The backend, as soon as there is one: whoever is quick may write before the page knows where to. */
export function ready(): Promise<ChatBackend> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      const found = backend.value;
      if (found === null) return;
      resolve(found);
      queueMicrotask(() => stop()); // not before it is known what to stop
    });
  });
}

/** Follow the session: another user or organisation means other conversations. */
export function attachService(): void {
  let served: string | null = null;
  effect(() => {
    const who = session.value;
    const whose = keyOf(who);
    if (whose === served) return;
    served = whose;
    backend.value = null;
    if (whose !== null) void begin(who, () => served === whose);
  });
}

function keyOf(who: Session): string | null {
  if (who.kind === "single" || who.kind === "household") return who.kind;
  return who.kind === "member" ? `${who.user.id} ${organisation.value?.id ?? ""}` : null;
}

async function begin(who: Session, isStill: () => boolean): Promise<void> {
  const made = who.kind === "single" ? browserBackend() : await platformBackend();
  if (!isStill()) return;
  made.start();
  backend.value = made;
}

/** A platform whose chat API is not there answers over its models' API alone. */
async function platformBackend(): Promise<ChatBackend> {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      return new ServerBackend(await once<Me>("GET", at("me")));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return browserBackend();
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

let warned = false;

function browserBackend(): BrowserBackend {
  return new BrowserBackend(({ kept, dropped }: Saved) => {
    if (dropped.length > 0) notify(t.value.dropped(dropped.length));
    if (!kept && !warned) {
      warned = true;
      notify(t.value.notKept);
    }
  });
}
