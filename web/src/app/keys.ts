/**
 * Keyboard shortcuts. An area names its own while it is shown; the page lists all of them on "?".
 *
 * "mod" is Command on Apple's machines, Control elsewhere. Shortcuts without it hold only outside of text fields.
 */

import { signal } from "@preact/signals";
import { hasDialog } from "./dialogs";

export interface Shortcut {
  /** "mod+shift+o", "escape", "?" */
  keys: string;
  label: () => string;
  /** False: it does not apply now, the key goes on to others. */
  run: () => boolean | void;
}

export const isApple = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);

const all = signal<readonly Shortcut[]>([]);
export const shortcuts = all;

/** Let these hold until the returned function is called; later ones go first. */
export function useKeys(list: readonly Shortcut[]): () => void {
  all.value = [...list, ...all.value];
  return () => (all.value = all.value.filter((each) => !list.includes(each)));
}

export function attachKeys(): void {
  addEventListener("keydown", onKey);
}

function onKey(event: KeyboardEvent): void {
  if (event.isComposing || event.defaultPrevented || hasDialog()) return;
  const pressed = spelled(event);
  for (const { keys, run } of all.value) {
    if (keys !== pressed) continue;
    if (isTyping(event.target) && !keys.includes("mod+") && keys !== "escape") continue;
    if (run() === false) continue;
    event.preventDefault();
    return;
  }
}

function spelled(event: KeyboardEvent): string {
  const key = event.key.toLowerCase();
  const mod = isApple ? event.metaKey : event.ctrlKey;
  const shift = event.shiftKey && key.length > 1 ? true : event.shiftKey && /[a-z0-9]/.test(key);
  return `${mod ? "mod+" : ""}${shift ? "shift+" : ""}${event.altKey ? "alt+" : ""}${key}`;
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName));
}

/** "mod+shift+o" as the keys of this machine are named. */
export function keysShown(keys: string): string[] {
  const names: Record<string, string> = isApple
    ? { mod: "⌘", shift: "⇧", alt: "⌥", escape: "Esc" }
    : { mod: "Ctrl", shift: "Shift", alt: "Alt", escape: "Esc" };
  return keys.split("+").map((part) => names[part] ?? part.toUpperCase());
}
