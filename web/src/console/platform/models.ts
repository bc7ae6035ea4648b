/** Models, their servers, and the catalogue, as operators see them. */

export interface Model {
  name: string;
  title: string;
  owner_org: string | null;
  alias_of: string | null;
  source: string | null;
  flags: string[];
  load: "always" | "on_demand";
  idle_s: number;
  memory_bytes: number | null;
  state: string;
  base: string | null;
}

export interface Server {
  name: string;
  state: string;
  pid: number | null;
  restarts: number;
  said: string[];
}

export interface Known {
  name: string;
  title: string;
  about: string;
  about_zh: string;
  licence: string;
  languages: string[];
  context: number;
  parameters_billion: number;
  weight_gigabytes: number;
  is_here: boolean;
  fits: "yes" | "busy" | "no";
}

/** A download of a model. Bytes, bytes a second, seconds. */
export interface Fetch {
  state: "running" | "done" | "failed" | "stopped";
  done: number;
  total: number | null;
  rate: number | null;
  left_s: number | null;
  error: string | null;
  hint: string | null;
}

export const PLATFORM = "api/console/platform";
export const modelPath = (name: string) => `${PLATFORM}/models/${encodeURIComponent(name)}`;
