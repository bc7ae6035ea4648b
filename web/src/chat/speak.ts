/** Answers read aloud by the browser's own voice, where it has one: one at a time. */

import { signal } from "@preact/signals";
import { locale } from "../ui/format";

const LONGEST = 200; // characters said at once: some voices fall silent in longer ones

export const canSpeak = typeof speechSynthesis !== "undefined" && typeof SpeechSynthesisUtterance !== "undefined";

/** The message that is being read. */
export const speaking = signal<string | null>(null);

export function speak(id: string, text: string): void {
  hush();
  const pieces = piecesOf(spoken(text));
  if (pieces.length === 0) return;
  speaking.value = id;
  pieces.forEach((piece, at) => {
    const said = new SpeechSynthesisUtterance(piece);
    said.lang = languageOf(piece);
    const over = () => {
      if (speaking.peek() === id) speaking.value = null;
    };
    if (at === pieces.length - 1) said.onend = over;
    said.onerror = over;
    speechSynthesis.speak(said);
  });
}

export function hush(): void {
  if (speaking.peek() === null) return;
  speaking.value = null;
  speechSynthesis.cancel();
}

/** The words of Markdown: without code, marks, addresses and formulas. */
export function spoken(text: string): string {
  return text
    .replace(/^ {0,3}(`{3,}|~{3,})[\s\S]*?(?:^ {0,3}\1[ \t]*$|(?![\s\S]))/gm, "")
    .replace(/\$\$[\s\S]*?\$\$/g, "")
    .replace(/!\[[^\]]*\]\([^)]*\)/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/\[\d+\]/g, "")
    .replace(/https?:\/\/\S+/g, "")
    .replace(/^\s*\|?[\s:|-]+\|[\s:|-]*$/gm, "")
    .replace(/^\s*(?:#{1,6}|[-*+]|>|\d+[.)])\s+/gm, "")
    .replace(/[*_`~|#]+/g, " ")
    .replace(/[ \t]+/g, " ")
    .trim();
}

/** By its script; letters of the west are the page's language, or English. */
export function languageOf(text: string): string {
  if (/[\u3040-\u30ff]/.test(text)) return "ja-JP";
  if (/[\uac00-\ud7af]/.test(text)) return "ko-KR";
  if (/[\u3400-\u9fff]/.test(text)) return "zh-CN";
  if (/[\u0400-\u04ff]/.test(text)) return "ru-RU";
  if (/[\u0600-\u06ff]/.test(text)) return "ar-SA";
  return locale() === "zh-CN" ? "en-US" : navigator.language.startsWith("en") ? navigator.language : "en-US";
}

/** Sentences, joined as far as they go together. */
export function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  for (const sentence of text.match(/[^.!?。！？\n]+[.!?。！？]*\n?/g) ?? []) {
    const last = pieces.at(-1);
    if (last !== undefined && last.length + sentence.length <= LONGEST && languageOf(last) === languageOf(sentence)) pieces[pieces.length - 1] = last + sentence;
    else for (let from = 0; from < sentence.length; from += LONGEST) pieces.push(sentence.slice(from, from + LONGEST));
  }
  return pieces.map((piece) => piece.trim()).filter(Boolean);
}
