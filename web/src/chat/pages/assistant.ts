export interface McpServer {
  label: string;
  url: string;
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
  sampling: { temperature?: number | null; top_p?: number | null; max_tokens?: number | null } | null;
  visibility: "private" | "organisation" | "listed";
  /** Whether the reader may change it. */
  mine?: boolean;
}
