import { useEffect, useRef, useState } from "preact/hooks";
import { locale } from "../../ui/format";
import { IconButton } from "../../ui/Button";
import { notify } from "../../ui/notice";
import { t } from "../words";

/** What is used of the browser's speech recognition; the compiler's library does not know it. */
interface Recognition {
  lang: string;
  continuous: boolean;
  interimResults: boolean;
  onresult: (event: { results: ArrayLike<ArrayLike<{ transcript: string }>> }) => void;
  onerror: (event: { error: string }) => void;
  onend: () => void;
  start(): void;
  stop(): void;
}

type Maker = new () => Recognition;

const maker = (): Maker | undefined => {
  const named = globalThis as unknown as { SpeechRecognition?: Maker; webkitSpeechRecognition?: Maker };
  return named.SpeechRecognition ?? named.webkitSpeechRecognition;
};

export const canDictate = maker() !== undefined;

/** Speak instead of typing; the words go behind what is there. */
export function Dictation({ text, write }: { text: string; write: (text: string) => void }) {
  const [listening, setListening] = useState(false);
  const recognition = useRef<Recognition | null>(null);
  useEffect(() => () => recognition.current?.stop(), []);
  const begin = () => {
    const Made = maker();
    if (!Made) return;
    const made = new Made();
    const before = text && !/\s$/.test(text) ? `${text} ` : text;
    made.lang = locale() === "en" ? "en-US" : locale();
    made.continuous = true;
    made.interimResults = true;
    made.onresult = ({ results }) => write(before + Array.from(results, (result) => result[0]?.transcript ?? "").join(""));
    made.onerror = ({ error }) => error !== "aborted" && error !== "no-speech" && notify(t.value.dictateFailed);
    made.onend = () => setListening(false);
    recognition.current = made;
    setListening(true);
    made.start();
  };
  return (
    <IconButton
      icon="mic"
      label={listening ? t.value.dictating : t.value.dictate}
      class={listening ? "listening" : ""}
      pressed={listening}
      onClick={() => (listening ? recognition.current?.stop() : begin())}
    />
  );
}
