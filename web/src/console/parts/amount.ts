/**
 * Money, exactly: the console's API sends decimals of the currency as text ("0.000001234"), and no digit of them
 * passes through a float. Charts count in nano, a billionth of the currency, which is whole.
 */

import { session } from "../../app/session";
import { locale } from "../../ui/format";

const NANO_DIGITS = 9;

export function currency(): string {
  const who = session.value;
  return who.kind === "member" ? who.state.currency : "CNY";
}

/** All digits, at least two behind the point. */
export const amount = (text: string) => written(text, { maximumFractionDigits: NANO_DIGITS });

/** Two digits behind the point, or four that count where that is more: ¥194.55, ¥0.001774. */
export const briefAmount = (text: string) =>
  written(text, { maximumFractionDigits: 2, maximumSignificantDigits: 4, roundingPriority: "morePrecision" });

function written(text: string, digits: Intl.NumberFormatOptions): string {
  const money = { style: "currency", currency: currency(), currencyDisplay: "narrowSymbol" } as const;
  const format = new Intl.NumberFormat(locale(), { ...money, minimumFractionDigits: 2, ...digits });
  return format.format(text as unknown as number); // Intl reads decimals as they are written; its types do not say so
}

/** "12.5" as 12500000000. */
export function nanoOf(text: string): bigint {
  const [, sign = "", whole = "0", rest = ""] = /^(-?)(\d+)(?:\.(\d*))?$/.exec(text) ?? [];
  const size = BigInt(whole + rest.slice(0, NANO_DIGITS).padEnd(NANO_DIGITS, "0"));
  return sign ? -size : size;
}

/** 12500000000 as "12.5". */
export function decimalOf(nano: bigint): string {
  const size = nano < 0n ? -nano : nano;
  const digits = size.toString().padStart(NANO_DIGITS + 1, "0");
  const rest = digits.slice(-NANO_DIGITS).replace(/0+$/, "");
  return `${nano < 0n ? "-" : ""}${digits.slice(0, -NANO_DIGITS)}${rest && `.${rest}`}`;
}

export function sumOf(texts: readonly string[]): string {
  return decimalOf(texts.reduce((sum, each) => sum + nanoOf(each), 0n));
}

/** What a form takes as money: 12, 12.5, 0.001. */
export const AMOUNT_PATTERN = "\\d+(\\.\\d{1,9})?";
