/** The prompt library: texts with a command, and {{words}} that are asked for. */

import { effect, signal } from "@preact/signals";
import { ApiError, api } from "../app/api";
import { changedElsewhere } from "./list";
import { onServer } from "./service";
import { at } from "./server/backend";

export interface Prompt {
  id: string;
  command: string;
  title: string;
  text: string;
  visibility: "private" | "organisation" | "listed";
  mine?: boolean;
}

export const prompts = signal<readonly Prompt[] | null>(null);

/** Loaded when the first slash is typed, or the page of prompts is opened. */
export async function loadPrompts(): Promise<void> {
  try {
    prompts.value = await api.get<Prompt[]>(at("prompts"));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the page of prompts tells more
  }
}

export function attachPrompts(): void {
  effect(() => {
    if (changedElsewhere.value.what.startsWith("prompt") && prompts.peek()) void loadPrompts();
  });
  effect(() => {
    onServer.value;
    prompts.value = null;
  });
}

const PLACEHOLDER = /\{\{\s*([^{}\n]{1,60}?)\s*\}\}/g;

export function placeholdersOf(text: string): string[] {
  return [...new Set([...text.matchAll(PLACEHOLDER)].map(([, name = ""]) => name))];
}

export function filled(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(PLACEHOLDER, (whole, name: string) => values[name] ?? whole);
}
