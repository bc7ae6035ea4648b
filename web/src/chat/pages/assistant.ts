import { api, withQuery } from "../../app/api";
import type { Settings } from "../model";
import { at } from "../server/backend";

export interface McpServer {
  label: string;
  url: string;
  /** Headers whose values the server keeps. */
  header_names?: string[];
}

export interface Assistant {
  id: string;
  name: string;
  picture: string | null;
  description: string;
  instructions: string;
  knowledge: string[];
  tools: { web_search?: boolean; mcp?: McpServer[] };
  examples: string[];
  model: string | null;
  sampling: Settings;
  visibility: "private" | "organisation" | "listed";
  /** Whether the reader may change it. */
  mine?: boolean;
}

/** One's own, and those that others show. */
export const loadAssistants = () => api.get<Assistant[]>(withQuery(at("assistants"), { listed: true }));

export async function loadAssistant(id: string): Promise<Assistant | undefined> {
  return (await loadAssistants()).find((each) => each.id === id);
}
