export type Tone = "good" | "busy" | "bad" | "calm";

/** A state in a word; its colour says the same again. */
export function Pill({ tone, children }: { tone: Tone; children: string }) {
  return <span class={`pill ${tone}`}>{children}</span>;
}
