import { session } from "../../app/session";
import { formatNano, formatNumber, formatRate, formatSeconds } from "../../ui/format";
import { type Message, tokensPerSecond } from "../model";
import { modelName } from "../service";
import { t } from "../words";

interface FiguresProps {
  message: Message;
  /** In a column that is headed by the model: its name is there, and how the money came about is one press away. */
  brief?: boolean;
}

/** What an answer took: tokens, times, money, and how the money came about. */
export function Figures({ message, brief }: FiguresProps) {
  const strings = t.value;
  const { usage, cost, ttft_ms, duration_ms } = message;
  const rate = tokensPerSecond(message);
  const who = session.value;
  const currency = who.kind === "member" || who.kind === "household" ? who.state.currency : "USD";
  const lines = [
    !brief && message.model && modelName(message.model),
    usage && usage.input_uncached + usage.cache_read > 0 && strings.read(formatNumber(usage.input_uncached + usage.cache_read)),
    usage && usage.cache_read > 0 && strings.cached(formatNumber(usage.cache_read)),
    usage && !usage.images && strings.written(formatNumber(usage.output_text + usage.output_reasoning)),
    usage && usage.output_reasoning > 0 && strings.reasoned(formatNumber(usage.output_reasoning)),
    usage?.images ? strings.pictures(usage.images) : null,
    ttft_ms !== null && strings.firstAfter(formatSeconds(ttft_ms)),
    rate !== null && strings.perSecond(formatRate(rate)),
    duration_ms !== null && strings.took(formatSeconds(duration_ms)),
    cost && cost.nano !== null && formatNano(cost.nano, currency),
    cost && cost.credits !== null && strings.credits(formatNumber(cost.credits)),
  ].filter(Boolean);
  if (lines.length === 0) return null;
  const arithmetic = cost && cost.arithmetic.length > 0 && <pre tabIndex={0}>{cost.arithmetic.join("\n")}</pre>;
  return (
    <div class="figures">
      <ul>
        {lines.map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ul>
      {arithmetic && brief ? (
        <details>
          <summary>{strings.arithmetic}</summary>
          {arithmetic}
        </details>
      ) : (
        arithmetic
      )}
    </div>
  );
}
