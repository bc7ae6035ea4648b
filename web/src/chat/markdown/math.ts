/**
 * Formulas in Markdown: $…$ and \(…\) in a line, $$…$$ and \[…\] as blocks. A single dollar counts as a formula only
 * where no price can be meant: no space inside its ends, no digit after it.
 */

import type { TokenizerAndRendererExtension } from "marked";

export interface MathToken {
  type: "math" | "inlineMath";
  raw: string;
  text: string;
  display: boolean;
  /** Not closed yet: the text still grows. */
  open: boolean;
}

const LONGEST = 20_000; // characters of a formula; what is longer is text

export const mathBlock: TokenizerAndRendererExtension = {
  name: "math",
  level: "block",
  start: (text) => text.match(/\n {0,3}(?:\$\$|\\\[)/)?.index,
  tokenizer(text) {
    const opened = /^ {0,3}(\$\$|\\\[)/.exec(text);
    if (!opened) return undefined;
    const close = opened[1] === "$$" ? "$$" : "\\]";
    const from = opened[0].length;
    const end = text.indexOf(close, from);
    if (end < 0) {
      if (text.length > LONGEST || /\n\s*\n/.test(text)) return undefined; // dollars, not a formula
      return { type: "math", raw: text, text: text.slice(from).trim(), display: true, open: true };
    }
    const after = /^[ \t]*(?:\n+|$)/.exec(text.slice(end + 2));
    if (!after || end - from > LONGEST) return undefined;
    return { type: "math", raw: text.slice(0, end + 2 + after[0].length), text: text.slice(from, end).trim(), display: true, open: false };
  },
};

export const mathInline: TokenizerAndRendererExtension = {
  name: "inlineMath",
  level: "inline",
  start: (text) => text.match(/\$|\\\(|\\\[/)?.index,
  tokenizer(text) {
    const match =
      /^\$\$((?:\\.|[^$\\]){1,2000}?)\$\$/.exec(text) ??
      /^\\\(((?:\\[^)]|[^\\]){1,2000}?)\\\)/.exec(text) ??
      /^\\\[((?:\\[^\]]|[^\\]){1,2000}?)\\\]/.exec(text) ??
      /^\$(?![\s$])((?:\\.|[^$\\\n]){1,2000}?)(?<![\s\\])\$(?![\d$])/.exec(text);
    if (!match?.[1]) return undefined;
    const display = match[0].startsWith("$$") || match[0].startsWith("\\[");
    return { type: "inlineMath", raw: match[0], text: match[1].trim(), display, open: false };
  },
};
