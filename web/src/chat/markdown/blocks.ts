/**
 * Markdown text -> top-level blocks -> tokens (marked's lexer). What a token looks like: Markdown.tsx.
 *
 * A text that grows is read from its last block on: what stands before a finished block can change no more, so an
 * answer of any length costs what its end costs. Inline marks are read when a block is drawn, not before.
 */

import { Lexer, Marked, type Token, type TokensList } from "marked";
import { mathBlock, mathInline } from "./math";

export interface Block {
  raw: string;
  type: string;
}

export interface Read {
  blocks: readonly Block[];
  /** Link definitions: they can change what an older block means. */
  links: TokensList["links"];
  definitions: number;
}

/** Characters that are read at a time: the lexer looks for the starts of formulas to the very end of what it gets. */
const WINDOW = 32_000;

const marked = new Marked({
  gfm: true,
  breaks: true, // models end lines where they mean it
  extensions: [
    mathBlock,
    mathInline,
    {
      // CommonMark does not close **…** between Chinese punctuation and a letter (`**注意：**请`); readers expect it.
      name: "strong",
      level: "inline",
      start: (text: string) => text.match(/\*\*/)?.index,
      tokenizer(text: string) {
        const match = /^\*\*((?![\s*])[^*\n]{0,2000}[^\s*])\*\*(?!\*)/.exec(text);
        if (!match?.[1] || !/^\p{P}|\p{P}$/u.test(match[1])) return undefined;
        return { type: "strong", raw: match[0], text: match[1], tokens: this.lexer.inlineTokens(match[1]) };
      },
    },
  ],
});

export class BlockReader {
  private text = "";
  private settled: Block[] = [];
  private end = 0; // of the settled blocks, in characters
  private links: TokensList["links"] = {};

  read(given: string): Read {
    const text = given.includes("\r") ? given.replace(/\r\n?/g, "\n") : given;
    if (!text.startsWith(this.text)) this.forget();
    this.text = text;
    for (let window = WINDOW; ; ) {
      const until = this.end + window;
      const before = this.end;
      const { open, links } = this.lex(text, until);
      if (until >= text.length) return { blocks: [...this.settled, ...open], links, definitions: Object.keys(links).length };
      window = this.end > before ? WINDOW : 2 * window; // a block that is longer than the window needs a larger one
    }
  }

  /** Settle the blocks up to there but the last, which may go on; it is what comes back. A definition too may. */
  private lex(text: string, until: number): { open: Block[]; links: TokensList["links"] } {
    const lexer = new Lexer(marked.defaults);
    lexer.tokens.links = { ...this.links };
    const tokens = lexer.blockTokens(text.slice(this.end, until), lexer.tokens);
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    const open: Block[] = [];
    let at = this.end;
    for (const [index, token] of tokens.entries()) {
      at += token.raw.length;
      if (token.type === "space") continue;
      if (token.type === "def") {
        if (index < last) this.links = { [token["tag"]]: { href: token["href"], title: token["title"] }, ...this.links };
      } else if (index < last) this.settle(token, at, text);
      else open.push(blockOf(token));
    }
    return { open, links: lexer.tokens.links };
  }

  private settle(token: Token, end: number, text: string): void {
    this.settled.push(blockOf(token));
    this.end = Math.min(end, text.length);
  }

  private forget(): void {
    this.settled = [];
    this.end = 0;
    this.links = {};
  }
}

const blockOf = ({ raw, type }: Token): Block => ({ raw, type });

/** The tokens of one block, with its inline marks. */
export function tokensOf(raw: string, links: TokensList["links"]): Token[] {
  const lexer = new Lexer(marked.defaults);
  lexer.tokens.links = links;
  return lexer.lex(raw);
}

const NAMED: Record<string, string> = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00A0", ndash: "–", mdash: "—", hellip: "…",
  copy: "©", reg: "®", trade: "™", deg: "°", times: "×", divide: "÷", plusmn: "±", minus: "−", middot: "·",
  le: "≤", ge: "≥", ne: "≠", rarr: "→", larr: "←", pi: "π", alpha: "α", beta: "β", gamma: "γ", euro: "€",
}; // prettier-ignore

/** Character references as characters; unknown ones stay as written. The result is text, never markup. */
export function decodeReferences(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]+));/gi, (whole, decimal, hex, name) => {
    if (name) return NAMED[name] ?? whole;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\uFFFD";
  });
}

/** Only what opens a page or a mail; anything else (javascript:, data:, file:) is null. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
