/** What a piece of code said when it was run, below it. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Button, IconButton } from "../../ui/Button";
import { type Ended, LIMIT_S, type Line, runScript } from "../run";
import { t } from "../words";
import "../../style/run.css";

export default function RunView({ code, close }: { code: string; close: () => void }) {
  const strings = t.value;
  const [lines, setLines] = useState<Line[]>([]);
  const [how, setHow] = useState<Ended | null>(null);
  const stop = useRef<() => void>(undefined);
  useEffect(() => {
    setLines([]);
    setHow(null);
    let here = true;
    stop.current = runScript(
      code,
      (line) => here && setLines((before) => [...before, line]),
      (ended) => here && setHow(ended),
    );
    return () => {
      here = false;
      stop.current?.();
    };
  }, [code]);
  const said: Record<Ended, string> = { done: strings.runDone, failed: strings.runFailed, stopped: strings.stopped, late: strings.runLate(LIMIT_S), loud: strings.runLoud };
  return (
    <section class="run" aria-label={strings.runOutput}>
      <header>
        <span role="status">{how === null ? strings.toolRunning : said[how]}</span>
        <span class="grow" />
        {how === null ? (
          <Button icon="stop" onClick={() => stop.current?.()}>{strings.runStop}</Button>
        ) : (
          <IconButton icon="close" label={strings.runClose} onClick={close} />
        )}
      </header>
      {lines.length > 0 ? (
        <pre tabIndex={0}>
          {lines.map(({ level, text }, index) => (
            <div key={index} class={`line-${level}`}>{text || " "}</div>
          ))}
        </pre>
      ) : (
        how === "done" && <p class="hint">{strings.runNothing}</p>
      )}
    </section>
  );
}
