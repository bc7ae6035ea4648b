import { formatAge, formatMoney, formatTime } from "./format";

/** A moment, by its age; the exact time in the tooltip. */
export function Time({ at }: { at: number }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={formatTime(at)}>
      {formatAge(at)}
    </time>
  );
}

/** An exact decimal of the currency; all its digits in the tooltip. */
export function Money({ amount, currency }: { amount: string | number; currency: string }) {
  return (
    <span class="money" title={`${amount} ${currency}`}>
      {formatMoney(amount, currency)}
    </span>
  );
}
