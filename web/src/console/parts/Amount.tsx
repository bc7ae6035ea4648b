import { amount, briefAmount, currency } from "./amount";

/** An exact amount; below zero it says so in colour too. `brief`: four digits that count, and all of them on pointing. */
export function Amount({ of, brief = false }: { of: string; brief?: boolean }) {
  return (
    <span class={of.startsWith("-") ? "money below" : "money"} title={`${of} ${currency()}`}>
      {brief ? briefAmount(of) : amount(of)}
    </span>
  );
}
