import { useState } from "preact/hooks";
import { formatSeconds } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import { Markdown } from "../markdown/Markdown";
import type { Message } from "../model";
import { t } from "../words";

/** Open while it is all there is to see, closed once the answer begins, unless the reader chose otherwise. */
export function Reasoning({ message }: { message: Message }) {
  const [chosen, choose] = useState<boolean | null>(null);
  const thinking = message.state === "running" && !message.text && message.parts.length === 0;
  const isOpen = chosen ?? thinking;
  const strings = t.value;
  const label = thinking ? strings.thinkingNow : message.reasoning_ms === null ? strings.thought : strings.thoughtFor(formatSeconds(message.reasoning_ms));
  return (
    <details class={thinking ? "reasoning thinking" : "reasoning"} open={isOpen}>
      <summary
        onClick={(event) => {
          event.preventDefault();
          choose(!isOpen);
        }}
      >
        <Icon name="spark" />
        {label}
        <Icon name="right" />
      </summary>
      <div class="reasoning-text">{isOpen && <Markdown text={message.reasoning} live={thinking} />}</div>
    </details>
  );
}
