import { IconButton } from "../../ui/Button";
import type { Message } from "../model";
import { streaming, turnTo } from "../thread";
import { t } from "../words";

interface SiblingsProps {
  message: Message;
  previous: string;
  next: string;
}

/** The way to the other questions or answers in the same place. */
export function Siblings({ message: { id, siblings }, previous, next }: SiblingsProps) {
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(id);
  const step = (by: number) => {
    const to = siblings[at + by];
    if (to) void turnTo(to);
  };
  const busy = streaming.value;
  return (
    <span class="pager">
      <IconButton icon="left" label={previous} disabled={busy || at <= 0} onClick={() => step(-1)} />
      <span>{t.value.answerOf(at + 1, siblings.length)}</span>
      <IconButton icon="right" label={next} disabled={busy || at === siblings.length - 1} onClick={() => step(1)} />
    </span>
  );
}
