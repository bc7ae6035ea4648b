/** One short message at a time at the edge of the page, with at most one thing to do about it. */

import { signal } from "@preact/signals";

export interface Notice {
  text: string;
  action?: { label: string; run: () => void };
}

export const notice = signal<Notice | null>(null);

const SHOWN_MS = 8000;
let timer: ReturnType<typeof setTimeout> | undefined;

export function notify(text: string, action?: Notice["action"]): void {
  clearTimeout(timer);
  notice.value = action ? { text, action } : { text };
  timer = setTimeout(dismissNotice, SHOWN_MS);
}

export function dismissNotice(): void {
  clearTimeout(timer);
  notice.value = null;
}
