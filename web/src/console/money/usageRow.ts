/** One request that was billed, as the usage table keeps it. */

import { formatNumber, formatSeconds } from "../../ui/format";
import type { Tone } from "../parts/Pill";
import { t } from "./words";

export interface UsageRow {
  created_at: number;
  request_id: string;
  project_id: string;
  key_id: string;
  user_id: string | null;
  model: string;
  kind: string;
  dialect: string;
  endpoint: string;
  status: string;
  estimated: number | boolean;
  is_plan: number | boolean;
  is_batch: number | boolean;
  units: number;
  input_uncached: number;
  cache_read: number;
  cache_write: number;
  output_text: number;
  output_reasoning: number;
  images: number;
  credits: number;
  ttft_ms: number | null;
  duration_ms: number | null;
  arithmetic: string;
  balance_nano: number | null;
  cost: string;
}

export const inputOf = (row: UsageRow) => row.input_uncached + row.cache_read + row.cache_write;
export const outputOf = (row: UsageRow) => row.output_text + row.output_reasoning;
export const stateOf = (row: UsageRow) => t.value.states[row.status] ?? row.status;
export const toneOf = (row: UsageRow): Tone => (row.status === "ok" ? "good" : row.status === "failed" ? "bad" : "busy");

const SHORT_MS = 1000;

export function lasting(ms: number | null): string {
  if (ms === null) return "—";
  return ms < SHORT_MS ? t.value.milliseconds(formatNumber(ms)) : t.value.seconds(formatSeconds(ms));
}
