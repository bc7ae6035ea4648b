import { amount, currency } from "./amount";

/** An exact amount; below zero it says so in colour too. */
export function Amount({ of }: { of: string }) {
  return (
    <span class={of.startsWith("-") ? "money below" : "money"} title={`${of} ${currency()}`}>
      {amount(of)}
    </span>
  );
}
