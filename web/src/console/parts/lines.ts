/** "a, b" and one a line, as a list. */
export function wordsIn(text: string): string[] {
  return text.split(/[\s,，]+/).filter(Boolean);
}
