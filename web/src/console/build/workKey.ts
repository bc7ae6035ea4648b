/**
 * Calls of the platform's real endpoints from the console: they want a key, so the console makes one for an hour.
 *
 * It is kept in this tab alone. Work that goes on without the page (a batch, a training, documents that are read)
 * ends with its key, so it gets a key of its own that lives as long as it may take.
 */

import { api, ApiError, reach, refusal } from "../../app/api";
import { isObject } from "../../app/json";
import { user } from "../../app/session";
import { formatTime } from "../../ui/format";
import { type Key, orgPath } from "../parts/names";
import { t } from "./words";

const HOUR_MS = 3_600_000;
const SPARE_MS = 300_000; // a key with less than this left is not begun with
const shelfOf = (project: string) => `openglm.1.work-key.${user.peek()?.id}.${project}`; // whoever signs in next has keys of their own

interface Kept {
  key: string;
  until: number;
}

/** Two keys are made at once only where two projects are worked on. */
const making = new Map<string, Promise<string>>();

export async function workKey(org: string, project: string): Promise<string> {
  const kept = readKept(project);
  if (kept && kept.until - SPARE_MS > Date.now()) return kept.key;
  const made = making.get(project) ?? makeKept(org, project).finally(() => making.delete(project));
  making.set(project, made);
  return made;
}

async function makeKept(org: string, project: string): Promise<string> {
  const until = Date.now() + HOUR_MS;
  await endOld(org, project);
  const key = await longKey(org, project, until);
  sessionStorage.setItem(shelfOf(project), JSON.stringify({ key, until }));
  return key;
}

/** A key for work that goes on until a moment. */
export async function longKey(org: string, project: string, until: number): Promise<string> {
  const name = t.value.workKeyName(formatTime(until));
  const made = await api.post<{ key: string }>(`${orgPath(org)}/keys`, { name, project_id: project, expires_at: until });
  return made.key;
}

/** Keys of the console that are over would count against the organisation's quota for ever. */
async function endOld(org: string, project: string): Promise<void> {
  const keys = await api.get<Key[]>(`${orgPath(org)}/keys`);
  const over = keys.filter((key) => key.project_id === project && isOurs(key) && key.revoked_at === null && (key.expires_at ?? Infinity) < Date.now());
  await Promise.all(over.map((key) => api.delete(`${orgPath(org)}/keys/${key.id}`)));
}

/** Whether a key was made by the console: by its name, in either language. */
export const isOurs = ({ name }: Key) => /^(Console, until|控制台，至) /.test(name);

function readKept(project: string): Kept | null {
  try {
    const kept: unknown = JSON.parse(sessionStorage.getItem(shelfOf(project)) ?? "null");
    return isObject(kept) && typeof kept["key"] === "string" && typeof kept["until"] === "number" ? { key: kept["key"], until: kept["until"] } : null;
  } catch {
    return null;
  }
}

interface Sent {
  org: string;
  project: string;
  method?: string;
  /** An object goes as JSON, a form as it is. */
  body?: object | FormData;
  key?: string;
  signal?: AbortSignal;
}

/** One call of a real endpoint; its errors as those of the console's own API. */
export async function call(path: string, { org, project, method = "GET", body, key, signal }: Sent): Promise<Response> {
  const send = async (credential: string) =>
    reach(path, {
      method,
      headers: {
        authorization: `Bearer ${credential}`,
        ...(body && !(body instanceof FormData) && { "content-type": "application/json" }),
      },
      ...(body && { body: body instanceof FormData ? body : JSON.stringify(body) }),
      ...(signal && { signal }),
    });
  let response = await send(key ?? (await workKey(org, project)));
  if (response.status === 401 && !key) {
    sessionStorage.removeItem(shelfOf(project)); // somebody revoked it
    response = await send(await workKey(org, project));
  }
  return response;
}

export async function callJson<T>(path: string, sent: Sent): Promise<T> {
  const response = await call(path, sent);
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}

/** Knowledge bases answer in envelopes, errors of theirs with status 200 too. */
export async function callEnveloped<T>(path: string, sent: Sent): Promise<T> {
  const { code, message, data } = await callJson<{ code: number; message: string; data: T }>(path, sent);
  if (code !== 200) throw new ApiError(code, message);
  return data;
}
