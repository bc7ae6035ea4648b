/** Code that is more than code: pages, pictures, diagrams and documents, shown in a panel beside the conversation. */

import { signal } from "@preact/signals";
import { closeSource } from "./sources";

export type ArtifactKind = "html" | "svg" | "mermaid" | "markdown";

export interface Artifact {
  kind: ArtifactKind;
  code: string;
}

const KINDS: Record<string, ArtifactKind> = { html: "html", svg: "svg", mermaid: "mermaid", markdown: "markdown", md: "markdown" };

export function artifactKind(language: string, code: string): ArtifactKind | null {
  const kind = KINDS[language];
  if (kind) return kind;
  const isSvg = (language === "xml" || language === "") && /^\s*<svg[\s>]/.test(code);
  return isSvg ? "svg" : null;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([\w-]*)[^\n]*\n([\s\S]*?)(?:^ {0,3}\1[ \t]*$|(?![\s\S]))/gm;

export function artifactsIn(text: string): Artifact[] {
  return [...text.matchAll(FENCE)].flatMap(([, , language = "", code = ""]) => {
    const body = code.replace(/\n$/, "");
    const kind = artifactKind(language.toLowerCase(), body);
    return kind ? [{ kind, code: body }] : [];
  });
}

/** What is open in the panel. */
export const artifact = signal<Artifact | null>(null);

export function openArtifact(kind: ArtifactKind, code: string): void {
  closeSource(); // there is room for one
  artifact.value = { kind, code };
}

export function closeArtifact(): void {
  artifact.value = null;
}
