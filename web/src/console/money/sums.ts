/** Sums of usage, as a chart and as a table. */

import { decimalOf, nanoOf } from "../parts/amount";
import type { Series } from "../../ui/Chart";

export interface Sum {
  group: Record<string, string | number | null>;
  requests: number;
  input_uncached: number;
  cache_read: number;
  cache_write: number;
  output: number;
  images: number;
  credits: number;
  cost: string;
}

export type Measure = "cost" | "requests" | "tokens";

export const inputOf = (sum: Sum) => sum.input_uncached + sum.cache_read + sum.cache_write;

export function measured(sum: Sum, measure: Measure): number {
  if (measure === "cost") return Number(nanoOf(sum.cost));
  return measure === "requests" ? sum.requests : inputOf(sum) + sum.output;
}

/** One row for each value of `by`, whatever the day, largest first. */
export function totalsOf(sums: readonly Sum[], by: string, measure: Measure): Sum[] {
  const found = new Map<string, Sum>();
  for (const sum of sums) {
    const name = String(sum.group[by] ?? "");
    const known = found.get(name);
    found.set(name, known ? added(known, sum) : { ...sum, group: { [by]: sum.group[by] ?? null } });
  }
  return [...found.values()].sort((a, b) => measured(b, measure) - measured(a, measure) || b.requests - a.requests);
}

function added(a: Sum, b: Sum): Sum {
  return {
    group: a.group,
    requests: a.requests + b.requests,
    input_uncached: a.input_uncached + b.input_uncached,
    cache_read: a.cache_read + b.cache_read,
    cache_write: a.cache_write + b.cache_write,
    output: a.output + b.output,
    images: a.images + b.images,
    credits: a.credits + b.credits,
    cost: decimalOf(nanoOf(a.cost) + nanoOf(b.cost)),
  };
}

export const totalOf = (sums: readonly Sum[]): Sum | null => (sums.length ? sums.reduce(added) : null);

const SHOWN = 5; // series of their own; a sixth stands for all others

/** A series for each of the largest groups, over the days. */
export function seriesOf(
  sums: readonly Sum[],
  days: readonly number[],
  { by, measure, nameOf, others }: { by: string; measure: Measure; nameOf: (id: string | null) => string; others: string },
): Series[] {
  const largest = totalsOf(sums, by, measure).map(({ group }) => group[by] ?? null);
  const shown = largest.length > SHOWN + 1 ? largest.slice(0, SHOWN) : largest;
  const valuesOf = (belongs: (value: string | number | null) => boolean) => {
    const byDay = new Map<number, number>();
    for (const sum of sums) {
      if (!belongs(sum.group[by] ?? null)) continue;
      const day = Number(sum.group["day"]);
      byDay.set(day, (byDay.get(day) ?? 0) + measured(sum, measure));
    }
    return days.map((day) => byDay.get(day) ?? 0);
  };
  const series = shown.map((value) => ({
    name: nameOf(value === null ? null : String(value)),
    values: valuesOf((each) => each === value),
  }));
  if (shown.length < largest.length) series.push({ name: others, values: valuesOf((each) => !shown.includes(each)) });
  return series;
}
