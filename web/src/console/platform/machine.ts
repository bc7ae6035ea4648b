/** What GET platform/machine tells, and rates out of two looks at it. */

export interface Totals {
  model: string;
  answers: number;
  broken: number;
  input_uncached: number;
  cache_read: number;
  output: number;
}

export interface Machine {
  version: string;
  up_s: number;
  database: string;
  processors: number;
  load: number;
  memory_total: number;
  memory_free: number;
  disk_total: number;
  disk_free: number;
  channels: number;
  channels_ill: number;
  in_flight: number;
  waiting: number;
  models: Totals[];
}

export interface Look {
  at: number;
  machine: Machine;
}

/** Output tokens a second between two looks; 0 where the program was started anew. */
export function outputRate(before: Look, after: Look, model: string): number {
  const count = ({ machine }: Look) => machine.models.find((one) => one.model === model)?.output ?? 0;
  return Math.max(0, ((count(after) - count(before)) * 1000) / (after.at - before.at));
}
