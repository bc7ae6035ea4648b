/** Fine-tuning jobs as the console's API shows them. */

import type { Tone } from "../parts/Pill";

export interface Job {
  id: string;
  project_id: string;
  user_id: string | null;
  model: string;
  status: string;
  fine_tuned_model: string | null;
  training_file: string;
  validation_file: string | null;
  result_file: string | null;
  hyperparameters: Record<string, unknown>;
  error: string | null;
  examples: number;
  expected_tokens: number;
  trained_tokens: number;
  created_at: number;
  started_at: number | null;
  expected_end_at: number | null;
  ended_at: number | null;
}

export interface Point {
  step: number;
  total_steps: number;
  epoch: number;
  tokens: number;
  train_loss: number;
  valid_loss: number | null;
  learning_rate: number | null;
  tokens_per_second: number | null;
}

export interface WholeJob {
  job: Job;
  points: Point[];
  events: { at: number; level: string; message: string }[];
}

const GOES_ON = ["validating_files", "queued", "running", "paused"];

export const goesOn = ({ status }: Job) => GOES_ON.includes(status);

export function toneOf({ status }: Job): Tone {
  if (status === "paused" || status === "cancelled") return "calm";
  if (GOES_ON.includes(status)) return "busy";
  return status === "succeeded" ? "good" : "bad";
}
