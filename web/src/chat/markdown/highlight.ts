/**
 * Highlighting as a tree of (scope, children), loaded when the first code block appears.
 *
 * The tree instead of highlight.js's HTML string: nothing that a model wrote is ever parsed as HTML here, and
 * the page's DOM stays put while code is still streaming in.
 */

import { signal } from "@preact/signals";

export interface CodeNode {
  scope: string | null;
  children: (CodeNode | string)[];
}

type Highlighter = (code: string, language: string) => CodeNode | null;

const highlighter = signal<Highlighter | null>(null);
let loading = false;

/** Plain until the languages are loaded, then again in colour; null for languages we do not know. */
export function highlighted(code: string, language: string): CodeNode | null {
  if (highlighter.value !== null) return highlighter.value(code, language);
  if (!loading) {
    loading = true;
    void import("./languages").then(
      (module) => (highlighter.value = module.highlight),
      () => (loading = false), // server gone: code stays plain, the next block tries again
    );
  }
  return null;
}
