/** The pages beside the chat, by their addresses. */

import type { ComponentType } from "preact";
import { match } from "../../app/router";
import { Archive } from "./Archive";
import { AssistantPage } from "./AssistantPage";
import { Assistants } from "./Assistants";
import { Memory } from "./Memory";
import { ProjectPage } from "./ProjectPage";
import { Projects } from "./Projects";
import { Prompts } from "./Prompts";
import { Search } from "./Search";

const PAGES: [pattern: string, view: ComponentType<{ id: string }>][] = [
  ["search", Search],
  ["archive", Archive],
  ["projects", Projects],
  ["projects/:id", ProjectPage],
  ["assistants", Assistants],
  ["assistants/:id", AssistantPage],
  ["prompts", Prompts],
  ["memory", Memory],
];

export default function Pages({ path }: { path: string }) {
  for (const [pattern, View] of PAGES) {
    const named = match(pattern, path);
    if (named) return <View key={path} id={named["id"] ?? ""} />;
  }
  return null;
}
