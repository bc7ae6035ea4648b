/** Days as the usage table counts them: in UTC. */

import { locale } from "../../ui/format";

export const DAY_MS = 86_400_000;

export const startOfDay = (ms: number) => Math.floor(ms / DAY_MS) * DAY_MS;

/** The first ms of each of the last `count` days, today's last. */
export function lastDays(count: number, now = Date.now()): number[] {
  const today = startOfDay(now);
  return Array.from({ length: count }, (_, at) => today - (count - 1 - at) * DAY_MS);
}

export function dayLabel(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { month: "numeric", day: "numeric", timeZone: "UTC" }).format(ms);
}

/** For <input type="date">. */
export const dayText = (ms: number) => new Date(ms).toISOString().slice(0, 10);
