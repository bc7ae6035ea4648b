/** Texts that answers rest on, shown in a panel beside the conversation: documents of knowledge bases, attached files. */

import { signal } from "@preact/signals";
import { api } from "../app/api";
import type { AttachmentPart, CitationPart } from "./model";
import { at } from "./server/backend";

export interface Source {
  kind: "documents" | "attachments";
  id: string;
  title: string;
  /** What was cited, in code points of the text; null: nothing of it in particular. */
  span: { start: number; end: number; quote: string } | null;
}

/** A piece of a text, as the server gives it: `start` and `end` count code points. */
export interface Passage {
  name: string;
  url: string | null;
  length: number;
  start: number;
  end: number;
  text: string;
}

export const source = signal<Source | null>(null);

export const closeSource = (): void => void (source.value = null);

export function openCitation({ document_id, title, start, end, quote }: CitationPart): boolean {
  if (!document_id) return false;
  const span = typeof start === "number" && typeof end === "number" ? { start, end, quote: quote ?? "" } : null;
  source.value = { kind: "documents", id: document_id, title, span };
  return true;
}

export function openAttachment({ file_id, name }: AttachmentPart): void {
  source.value = { kind: "attachments", id: file_id, title: name, span: null };
}

export const loadPassage = ({ kind, id }: Source, start: number, most: number) =>
  api.get<Passage>(at(`${kind}/${encodeURIComponent(id)}/text`), { start, most });
