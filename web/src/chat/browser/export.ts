import type { Kept } from "./kept";
import { byId, pathTo } from "./tree";

/** The shown path as a Markdown document. */
export function markdownOf({ conversation, messages, leaf }: Kept): string {
  const parts = pathTo(byId(messages), leaf).map(({ role, text, model }) => `## ${role === "user" ? "User" : model || "Assistant"}\n\n${text}\n`);
  return [`# ${conversation.title}\n`, ...parts].join("\n");
}
