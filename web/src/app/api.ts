/**
 * Calls of the platform's own APIs (api/console, api/chat): cookies, the CSRF token on what changes something,
 * and errors as the reader should see them: what happened, and what to do about it.
 *
 * Addresses are relative to the page's root. A session that ended is noticed here: whoever listens to
 * `onSignedOut` asks the reader to sign in again, and the call that failed is made once more.
 */

import { isObject, textOf } from "./json";

export class ApiError extends Error {
  constructor(
    /** The HTTP status; null: no answer at all. */
    readonly status: number | null,
    readonly what: string,
    readonly hint: string | null = null,
    readonly code: string | null = null,
    readonly param: string | null = null,
  ) {
    super(what);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

let csrf: string | null = null;

export function setCsrf(token: string | null): void {
  csrf = token;
}

type Regain = (sentWith: string | null) => Promise<boolean>;

let regain: Regain = () => Promise.resolve(false);

/** What to do when a call finds the session gone; it gets the token that the call had. True: call again. */
export function onSignedOut(handler: Regain): void {
  regain = handler;
}

/** For who calls without `api`: the session is gone, wait until somebody is back. */
export const comeBack = () => regain(csrf);

export const api = {
  get: <T>(path: string, query: Query = {}, signal?: AbortSignal) =>
    call<T>("GET", withQuery(path, query), undefined, signal),
  post: <T>(path: string, body: unknown = {}) => call<T>("POST", path, body),
  put: <T>(path: string, body: unknown) => call<T>("PUT", path, body),
  patch: <T>(path: string, body: unknown) => call<T>("PATCH", path, body),
  delete: <T = void>(path: string) => call<T>("DELETE", path),
};

export function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  if (!text) return path;
  return path + (path.includes("?") ? "&" : "?") + text;
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const sentWith = csrf;
  try {
    return await once<T>(method, path, body, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || !mayBeOurSession(error, method) || !(await regain(sentWith))) throw error;
    return once<T>(method, path, body, signal);
  }
}

const mayBeOurSession = ({ status }: ApiError, method: string) =>
  status === 401 || (status === 403 && method !== "GET");

/** One call without a second try; also for what is done before anybody is signed in. */
export async function once<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await reach(path, {
    method,
    headers: headersFor(method, body),
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal && { signal }),
  });
  if (!response.ok) throw await refusal(response);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export function headersFor(method: string, body?: unknown): Record<string, string> {
  return {
    ...(body !== undefined && { "content-type": "application/json" }),
    ...(method !== "GET" && csrf !== null && { "x-csrf-token": csrf }),
  };
}

/** fetch, with the browser's own words for a lost connection replaced: they help nobody. */
export async function reach(path: string, options: RequestInit): Promise<Response> {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(null, "");
  }
}

export async function refusal(response: Response): Promise<ApiError> {
  const body = await response.text().catch(() => "");
  return refusalOf(response.status, body, response.statusText);
}

/** An error's body as an error: what, and the hint that our servers put behind it in brackets. */
export function refusalOf(status: number, body: string, otherwise = ""): ApiError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return new ApiError(status, otherwise); // a proxy's page, perhaps; its markup would help nobody
  }
  const reason = isObject(parsed) && isObject(parsed["error"]) ? parsed["error"] : parsed;
  if (!isObject(reason)) return new ApiError(status, otherwise);
  const text = textOf(reason["message"]) ?? textOf(reason["detail"]) ?? textOf(reason["error"]) ?? otherwise;
  const [, what = text, hint = null] = /^([\s\S]*?)\s*\(hint: ([\s\S]*)\)$/.exec(text) ?? [];
  return new ApiError(status, what, hint, textOf(reason["code"]), textOf(reason["param"]));
}
