/** KaTeX with its fonts, loaded when the first formula appears. */

import { signal } from "@preact/signals";

/** Set a formula into an element; false: it has a mistake. */
type Typeset = (formula: string, into: HTMLElement, display: boolean) => boolean;

const loaded = signal<Typeset | null>(null);
let loading = false;

export function typesetter(): Typeset | null {
  if (loaded.value === null && !loading) {
    loading = true;
    void import("./katex").then(
      (module) => (loaded.value = module.typeset),
      () => (loading = false), // server gone: the formula stays as written, the next one tries again
    );
  }
  return loaded.value;
}
