import { PLATFORM } from "./models";

export interface Channel {
  id: string;
  base_url: string;
  models: Record<string, string>;
  has_key: boolean;
  leaving: string;
  drain_tokens: number;
  weight: number;
  priority: number;
  max_in_flight: number | null;
  extensions: boolean;
  state: string;
  healthy: boolean | null;
  in_flight: number;
  waiting: number;
}

export const CHANNELS = `${PLATFORM}/channels`;
export const channelPath = (id: string) => `${CHANNELS}/${encodeURIComponent(id)}`;

/** "glm = glm-4.5-air" and "glm", one a line, as the API has them. */
export function readModels(text: string): Record<string, string> {
  const pairs = text
    .split("\n")
    .map((line) => line.split("=").map((part) => part.trim()))
    .filter(([name]) => name);
  return Object.fromEntries(pairs.map(([name = "", theirs]) => [name, theirs || name]));
}

export function writeModels(models: Record<string, string>): string {
  return Object.entries(models)
    .map(([name, theirs]) => (name === theirs ? name : `${name} = ${theirs}`))
    .join("\n");
}
