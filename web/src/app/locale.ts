/**
 * The words of one area of the app, in the language of the reader; the other language is loaded when it is chosen.
 *
 *   export const t = await words(() => import("./en"), () => import("./zh"));
 *
 * A module that awaits is ready before whoever imports it runs, so `t.value` always has its words. The files of
 * words import nothing at run time: one that needed the page's own chunk would wait for itself.
 */

import { effect, type ReadonlySignal, signal } from "@preact/signals";
import { type Language, language } from "./preferences";

type Load<W> = () => Promise<{ words: W }>;

export async function words<W extends object>(en: Load<W>, zh: Load<W>): Promise<ReadonlySignal<W>> {
  const load = (wanted: Language): Promise<W> => (wanted === "zh" ? zh : en)().then((file) => file.words);
  const first = language.peek();
  const shown = signal<W>((await load(first)) as W);
  let current = first;
  effect(() => {
    const wanted = language.value;
    if (wanted === current) return;
    current = wanted;
    void load(wanted).then(
      (loaded) => {
        if (language.peek() === wanted) shown.value = loaded;
      },
      () => (current = wanted === "zh" ? "en" : "zh"), // server gone: the words that are there stay
    );
  });
  return shown;
}
