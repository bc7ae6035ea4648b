import { computed } from "@preact/signals";
import { type Artifact, artifact, artifactsIn } from "./artifacts";
import { cell, path } from "./thread";

/** The versions of what is open: same kind, oldest first. What is being written grows in place. */
export const versions = computed<Artifact[]>(() => {
  const shown = artifact.value;
  if (shown === null) return [];
  const all = path.value
    .map((id) => cell(id)?.value)
    .filter((message) => message?.role === "assistant")
    .flatMap((message) => artifactsIn(message!.text))
    .filter(({ kind }) => kind === shown.kind);
  return placeOf(shown, all) < 0 ? [...all, shown] : all;
});

/** Where it stands among versions: as it is, or as the beginning of one that has grown since. */
export function placeOf({ code }: Artifact, all: readonly Artifact[]): number {
  const same = all.findIndex((each) => each.code === code);
  return same >= 0 ? same : all.findIndex((each) => each.code.startsWith(code));
}
