/**
 * The last block of a text that still grows, as it will most likely look: open marks are closed, half a link is its
 * words, the first row of a table is a table. So nothing jumps when the closing mark comes.
 */

const LONGEST = 20_000; // characters; a longer block is shown as it is

export function mended(raw: string): string {
  if (raw.length > LONGEST || /^ {0,3}(```|~~~)/.test(raw)) return raw;
  return asTable(withoutUnderline(closed(withoutHalfLink(raw))));
}

/** A line of dashes or equals signs under a paragraph would make it a heading, for the moment of a list's dash. */
function withoutUnderline(raw: string): string {
  return raw.replace(/(\S[^\n]*)\n {0,3}(?:-+|=+)[ \t]*$/, "$1");
}

/** "[words](https://exam": the words. "![alt](…": nothing yet. */
function withoutHalfLink(raw: string): string {
  return raw
    .replace(/!\[[^\]\n]*(?:\]\([^)\s]*)?$/, "")
    .replace(/\[([^\]\n]+)\]\([^)\s]*$/, "$1")
    .replace(/(^|\s)\[([^\]\n[]{1,200})$/, "$1$2");
}

/** Close code, then strong, emphasis and deletion outside of it. */
function closed(raw: string): string {
  const ticks = [...raw.matchAll(/`+/g)].map(([run]) => run);
  let open: string | null = null;
  for (const run of ticks) open = open === null ? run : open === run ? null : open;
  if (open !== null) return raw.endsWith(open) && raw.trimEnd() === raw ? raw.slice(0, -open.length) : raw + open;
  const words = raw.replace(/(`+)[\s\S]*?\1/g, "");
  let end = "";
  for (const mark of ["**", "~~"]) {
    const count = words.split(mark).length - 1;
    if (count % 2 === 1 && !new RegExp(`${mark.replace(/\*/g, "\\*")}\\s*$`).test(words)) end = mark + end;
  }
  const single = words.replace(/\*\*/g, "").match(/(?<![*\s\d\w])\*(?=[^\s*])|(?<=[^\s*])\*(?!\*)/g)?.length ?? 0;
  if (single % 2 === 1 && !/\*\s*$/.test(words)) end = `*${end}`;
  const trailing = /\s*$/.exec(raw)?.[0] ?? "";
  if (/(?:\*\*|~~)\s*$/.test(words) && end === "" && isOpening(words)) return raw.replace(/(?:\*\*|~~)\s*$/, "");
  return end ? raw.slice(0, raw.length - trailing.length) + end + trailing : raw;
}

/** Do the marks at the very end open something that has no text yet? */
function isOpening(words: string): boolean {
  const mark = words.trimEnd().slice(-2);
  return (words.split(mark).length - 1) % 2 === 1;
}

/** The head of a table, before the line under it is complete. */
function asTable(raw: string): string {
  const [head = "", under = "", ...more] = raw.trimEnd().split("\n");
  if (more.length > 0 || !/^ {0,3}\|.*\S/.test(head) || !/^[\s|:-]*$/.test(under)) return raw;
  const cells = head.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).length;
  const whole = under.trim().replace(/^\||\|$/g, "").split("|").filter((cell) => /-/.test(cell)).length;
  if (whole >= cells && under.trim().endsWith("|")) return raw;
  return `${head}\n|${" --- |".repeat(cells)}`;
}
