/** Numbers, money and times as the reader's language writes them. */

import { language } from "../app/preferences";
import { t } from "../app/words";

export const locale = () => (language.value === "zh" ? "zh-CN" : "en");

export function formatNumber(value: number): string {
  return new Intl.NumberFormat(locale()).format(value);
}

/** 12,345 as 12K: for charts and narrow columns. */
export function formatCompact(value: number): string {
  return new Intl.NumberFormat(locale(), { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function formatPercent(share: number): string {
  return new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share);
}

/** Seconds with one decimal below ten, whole above. */
export function formatSeconds(ms: number): string {
  const seconds = ms / 1000;
  const digits = seconds < 0.1 ? 2 : seconds < 10 ? 1 : 0;
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(seconds);
}

export function formatRate(perSecond: number): string {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: perSecond < 10 ? 1 : 0 }).format(perSecond);
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** step;
  const digits = step > 0 && value < 10 ? 1 : 0;
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value)} ${units[step]}`;
}

/** An exact decimal of a currency ("0.001234", as the console sends it): small amounts keep two figures. */
export function formatMoney(amount: string | number, currency: string): string {
  const value = Number(amount);
  const size = Math.abs(value);
  const digits = size === 0 || size >= 1 ? 2 : Math.min(9, Math.max(2, 1 - Math.floor(Math.log10(size))));
  return new Intl.NumberFormat(locale(), {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: 2,
    maximumFractionDigits: digits,
  }).format(value);
}

/** Integers of a billionth of the currency. */
export function formatNano(nano: number, currency: string): string {
  return formatMoney(nano / 1e9, currency);
}

export function formatDate(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(ms);
}

export function formatTime(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(ms);
}

const STEPS: [unit: Intl.RelativeTimeFormatUnit, ms: number][] = [
  ["year", 31_536_000_000],
  ["month", 2_592_000_000],
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** "3 hours ago", "in 2 days". */
export function formatAge(ms: number, now = Date.now()): string {
  const [unit, size] = STEPS.find(([, each]) => Math.abs(ms - now) >= each) ?? [];
  if (unit === undefined || size === undefined) return t.value.justNow;
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(Math.trunc((ms - now) / size), unit);
}
