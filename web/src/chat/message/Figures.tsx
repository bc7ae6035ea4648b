import { session } from "../../app/session";
import { formatNano, formatNumber, formatRate, formatSeconds } from "../../ui/format";
import { type Message, tokensPerSecond } from "../model";
import { modelName } from "../service";
import { t } from "../words";

/** What an answer took: tokens, times, money, and how the money came about. */
export function Figures({ message }: { message: Message }) {
  const strings = t.value;
  const { usage, cost, ttft_ms, duration_ms } = message;
  const rate = tokensPerSecond(message);
  const who = session.value;
  const currency = who.kind === "member" || who.kind === "household" ? who.state.currency : "USD";
  const lines = [
    message.model && modelName(message.model),
    usage && usage.input_uncached + usage.cache_read > 0 && strings.read(formatNumber(usage.input_uncached + usage.cache_read)),
    usage && usage.cache_read > 0 && strings.cached(formatNumber(usage.cache_read)),
    usage && strings.written(formatNumber(usage.output_text + usage.output_reasoning)),
    usage && usage.output_reasoning > 0 && strings.reasoned(formatNumber(usage.output_reasoning)),
    ttft_ms !== null && strings.firstAfter(formatSeconds(ttft_ms)),
    rate !== null && strings.perSecond(formatRate(rate)),
    duration_ms !== null && strings.took(formatSeconds(duration_ms)),
    cost && cost.nano !== null && formatNano(cost.nano, currency),
    cost && cost.credits !== null && strings.credits(formatNumber(cost.credits)),
  ];
  return (
    <div class="figures">
      <ul>
        {lines.filter(Boolean).map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ul>
      {cost && cost.arithmetic.length > 0 && <pre tabIndex={0}>{cost.arithmetic.join("\n")}</pre>}
    </div>
  );
}
