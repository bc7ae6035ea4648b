import { useEffect } from "preact/hooks";
import { IconButton } from "../../ui/Button";
import type { Message } from "../model";
import { canSpeak, hush, speak, speaking } from "../speak";
import { t } from "../words";

/** Read the answer aloud; pressed again it stops, and so it does when the answer goes. */
export function Speak({ message: { id, text } }: { message: Message }) {
  const now = speaking.value === id;
  useEffect(() => () => void (speaking.peek() === id && hush()), [id]);
  if (!canSpeak) return null;
  return <IconButton icon={now ? "stop" : "speaker"} label={now ? t.value.hush : t.value.speak} pressed={now} onClick={() => (now ? hush() : speak(id, text))} />;
}
