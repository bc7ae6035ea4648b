/** What the user chose, kept in this browser. first-paint.js reads theme and language from the same key. */

import { computed, effect, signal } from "@preact/signals";
import { isObject } from "./json";
import { browserShelf } from "./shelf";

export type Language = "en" | "zh";

export interface Preferences {
  theme: "system" | "light" | "dark";
  language: "system" | "en" | "zh";
  sidebar: boolean; // on wide screens
  model: string | null; // null: the first one the server lists
  system: string;
  temperature: number | null; // null: the model's own, here and below
  maxTokens: number | null;
  thinking: boolean | null;
  effort: "low" | "medium" | "high" | null;
  webSearch: boolean;
  pictures: number; // of an answer of a model that draws
}

const KEY = "openglm.1.preferences";
const DEFAULTS: Preferences = {
  theme: "system",
  language: "system",
  sidebar: true,
  model: null,
  system: "",
  temperature: null,
  maxTokens: null,
  thinking: null,
  effort: null,
  webSearch: false,
  pictures: 1,
};

export const preferences = signal<Preferences>(readPreferences(browserShelf().getItem(KEY)));

export function prefer(change: Partial<Preferences>): void {
  preferences.value = { ...preferences.value, ...change };
  try {
    browserShelf().setItem(KEY, JSON.stringify(preferences.value));
  } catch {
    // full: the choice holds until the page goes
  }
}

/** Stored text as preferences; each field that is missing or wrong falls back to its default. */
export function readPreferences(text: string | null): Preferences {
  let kept: unknown;
  try {
    kept = JSON.parse(text ?? "{}");
  } catch {
    return DEFAULTS;
  }
  if (!isObject(kept)) return DEFAULTS;
  const pick = <T>(key: keyof Preferences, fits: (value: unknown) => boolean): T =>
    (fits(kept[key]) ? kept[key] : DEFAULTS[key]) as T;
  const oneOf = (...words: string[]) => (value: unknown) => words.includes(value as string);
  const orNull = (type: string) => (value: unknown) => value === null || typeof value === type;
  return {
    theme: pick("theme", oneOf("system", "light", "dark")),
    language: pick("language", oneOf("system", "en", "zh")),
    sidebar: pick("sidebar", (value) => typeof value === "boolean"),
    model: pick("model", orNull("string")),
    system: pick("system", (value) => typeof value === "string"),
    temperature: pick("temperature", orNull("number")),
    maxTokens: pick("maxTokens", orNull("number")),
    thinking: pick("thinking", orNull("boolean")),
    effort: pick("effort", (value) => value === null || ["low", "medium", "high"].includes(value as string)),
    webSearch: pick("webSearch", (value) => typeof value === "boolean"),
    pictures: pick("pictures", (value) => [1, 2, 3, 4].includes(value as number)),
  };
}

const systemDark = signal(false);
export const theme = computed((): "light" | "dark" => {
  const chosen = preferences.value.theme;
  if (chosen !== "system") return chosen;
  return systemDark.value ? "dark" : "light";
});

export const language = computed((): Language => {
  const chosen = preferences.value.language;
  if (chosen !== "system") return chosen;
  return typeof navigator !== "undefined" && /^zh/i.test(navigator.language) ? "zh" : "en";
});

/** Keep <html> in step with theme and language, and both in step with the system. */
export function applyPreferences(): void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  systemDark.value = media.matches;
  media.addEventListener("change", () => (systemDark.value = media.matches));
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
  effect(() => {
    document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en";
  });
}
