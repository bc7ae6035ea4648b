/**
 * Where the reader is, as an address below the page's root: "chat/conv_1", "console/keys", "" for the start.
 *
 * The root is the document's base, which the server sets, so all of it works behind a proxy's path prefix.
 */

import { signal } from "@preact/signals";

export interface Address {
  path: string;
  query: URLSearchParams;
}

const root = () => new URL(document.baseURI).pathname;

function here(): Address {
  const below = location.pathname.startsWith(root()) ? location.pathname.slice(root().length) : "";
  return { path: decode(below.replace(/\/+$/, "")), query: new URLSearchParams(location.search) };
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // a lone % is part of no address of ours
  }
}

export const address = signal<Address>({ path: "", query: new URLSearchParams() });

export function hrefOf(to: string): string {
  return root() + to;
}

/** Show another place. `replace`: the way back skips this one. */
export function go(to: string, { replace = false } = {}): void {
  const next = hrefOf(to);
  if (next === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  address.value = here();
}

export function attachRouter(): void {
  address.value = here();
  addEventListener("popstate", () => (address.value = here()));
}

/** Should the page itself follow this click, or the browser (new tab, download)? */
export function isPlainClick(event: MouseEvent): boolean {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}

/** The parts that `pattern` ("chat/:id") names in `path`; null where it does not fit. */
export function match(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const named: Record<string, string> = {};
  for (const [at, part] of wanted.entries()) {
    const word = given[at] ?? "";
    if (part.startsWith(":")) named[part.slice(1)] = word;
    else if (part !== word) return null;
  }
  return named;
}
