/** Files on their way into a message: sent with progress, then read by the server, which takes a while. */

import { computed, signal } from "@preact/signals";
import { ApiError, api, headersFor, refusalOf } from "../../app/api";
import { formatBytes } from "../../ui/format";
import { notify } from "../../ui/notice";
import { draftOf, setDraft } from "../drafts";
import type { AttachmentPart } from "../model";
import { me } from "../service";
import { at } from "../server/backend";
import { t } from "../words";

export interface Upload {
  key: number;
  name: string;
  bytes: number;
  /** From 0 to 1. */
  sent: number;
  stop: () => void;
}

interface Stored {
  id: string;
  name: string;
  bytes: number;
  media_type: string;
  state: AttachmentPart["state"];
  error?: string | null;
}

const LOOK_AGAIN_MS = 800;

export const uploads = signal<readonly Upload[]>([]);
export const isUploading = computed(() => uploads.value.length > 0);
let nextKey = 1;

export async function attach(conversation: string | null, files: readonly File[]): Promise<void> {
  const limits = me.value?.limits;
  const room = (limits?.attachments ?? 20) - draftOf(conversation).attachments.length - uploads.value.length;
  if (files.length > room) notify(t.value.attachTooMany(limits?.attachments ?? 20));
  await Promise.all(files.slice(0, Math.max(0, room)).map((file) => one(conversation, file, limits?.attachment_bytes)));
}

async function one(conversation: string | null, file: File, most: number | undefined): Promise<void> {
  if (most !== undefined && file.size > most) {
    notify(t.value.attachTooLarge(file.name, formatBytes(most)));
    return;
  }
  try {
    const stored = await upload(file);
    const part = partOf(stored);
    setDraft(conversation, { attachments: [...draftOf(conversation).attachments, part] });
    if (part.state === "reading") void follow(conversation, part.file_id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code !== "stopped") notify([t.value.attachFailed(file.name), error.what, error.hint].filter(Boolean).join(" · "));
  }
}

export const partOf = ({ id, name, bytes, media_type, state, error }: Stored): AttachmentPart => ({
  type: "attachment",
  file_id: id,
  name,
  bytes,
  media_type,
  state,
  ...(error && { error }),
});

/** XMLHttpRequest, because fetch does not tell how much was sent. */
export function upload(file: File): Promise<Stored> {
  const key = nextKey++;
  const request = new XMLHttpRequest();
  const change = (sent: number) => (uploads.value = uploads.value.map((each) => (each.key === key ? { ...each, sent } : each)));
  uploads.value = [...uploads.value, { key, name: file.name, bytes: file.size, sent: 0, stop: () => request.abort() }];
  return new Promise<Stored>((resolve, reject) => {
    request.open("POST", at("attachments"));
    for (const [name, value] of Object.entries(headersFor("POST"))) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => change(total > 0 ? loaded / total : 0);
    request.onload = () => (request.status < 300 ? resolve(JSON.parse(request.responseText) as Stored) : reject(refusalOf(request.status, request.responseText)));
    request.onerror = () => reject(new ApiError(null, t.value.unreachable));
    request.onabort = () => reject(new ApiError(null, "", null, "stopped"));
    const body = new FormData();
    body.append("file", file, file.name);
    request.send(body);
  }).finally(() => (uploads.value = uploads.value.filter((each) => each.key !== key)));
}

/** Look until the server has read the file, or could not. */
async function follow(conversation: string | null, id: string): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    const held = draftOf(conversation).attachments;
    if (!held.some((part) => part.file_id === id)) return; // sent, or taken away
    const stored = await api.get<Stored>(at(`attachments/${id}`)).catch(() => null);
    if (!stored || stored.state === "reading") continue;
    const change = (part: AttachmentPart) => (part.file_id === id ? partOf(stored) : part);
    setDraft(conversation, { attachments: draftOf(conversation).attachments.map(change) });
    return;
  }
}

export function detach(conversation: string | null, id: string): void {
  setDraft(conversation, { attachments: draftOf(conversation).attachments.filter((part) => part.file_id !== id) });
  void api.delete(at(`attachments/${id}`)).catch(() => undefined); // a file that nobody names ends by itself
}
