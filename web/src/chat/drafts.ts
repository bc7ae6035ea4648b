/**
 * What is typed and not sent, for each conversation. It is kept from the first letter on until the server has taken
 * the message, so neither a reload nor a lost connection nor an expired session loses it.
 */

import { signal } from "@preact/signals";
import { isObject } from "../app/json";
import { browserShelf } from "../app/shelf";
import type { AttachmentPart } from "./model";

export interface Draft {
  text: string;
  attachments: AttachmentPart[];
}

const PREFIX = "openglm.1.draft.";
const NEW = "new";
const EMPTY: Draft = { text: "", attachments: [] };

const drafts = signal<Readonly<Record<string, Draft>>>({});

export function draftOf(conversation: string | null): Draft {
  const key = conversation ?? NEW;
  return drafts.value[key] ?? read(key);
}

export function setDraft(conversation: string | null, change: Partial<Draft>): void {
  const key = conversation ?? NEW;
  const next = { ...draftOf(conversation), ...change };
  drafts.value = { ...drafts.value, [key]: next };
  try {
    if (next.text || next.attachments.length > 0) browserShelf().setItem(PREFIX + key, JSON.stringify(next));
    else browserShelf().removeItem(PREFIX + key);
  } catch {
    // full: the draft lives as long as the page
  }
}

function read(key: string): Draft {
  try {
    const kept: unknown = JSON.parse(browserShelf().getItem(PREFIX + key) ?? "null");
    if (!isObject(kept) || typeof kept["text"] !== "string") return EMPTY;
    const attachments = Array.isArray(kept["attachments"]) ? (kept["attachments"] as AttachmentPart[]) : [];
    return { text: kept["text"], attachments };
  } catch {
    return EMPTY;
  }
}
