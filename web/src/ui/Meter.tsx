interface MeterProps {
  label: string;
  /** How much is used, and of how much. */
  used: number;
  limit: number;
  /** The numbers in words: "3.2 of 10 million tokens". */
  text: string;
  hint?: string;
}

const NEARLY = 0.85;

/** How much of something is used up. Its colour says so late, its words always. */
export function Meter({ label, used, limit, text, hint }: MeterProps) {
  const share = limit > 0 ? Math.min(1, used / limit) : 0;
  return (
    <div class={share >= 1 ? "meter full" : share >= NEARLY ? "meter nearly" : "meter"}>
      <div class="field-head">
        <span>{label}</span>
        <span class="value">{text}</span>
      </div>
      <progress max={1} value={share} aria-label={`${label}: ${text}`} />
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}
