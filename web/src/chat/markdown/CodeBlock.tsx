import { type ComponentChildren, createContext } from "preact";
import { useContext, useState } from "preact/hooks";
import { lazy } from "../../app/lazy";
import { CopyButton } from "../../ui/CopyButton";
import { IconButton } from "../../ui/Button";
import { artifactKind, openArtifact } from "../artifacts";
import { t } from "../words";
import { Diagram } from "./Diagram";
import { type CodeNode, highlighted } from "./highlight";

const RunView = lazy(() => import("./RunView"));
const RUNS = new Set(["js", "javascript", "mjs", "cjs"]); // languages that the browser runs by itself
/** Whether the block is the end of a text that grows. */
export const Growing = createContext(false);

const LONG = 60_000; // characters; longer code is laid out piece by piece, as it comes near
const PIECE = 8_000;

export function CodeBlock({ code, language }: { code: string; language: string }) {
  const name = language.toLowerCase();
  const tree = name && code.length <= LONG ? highlighted(code, name) : null;
  const kind = artifactKind(name, code);
  const growing = useContext(Growing);
  const [drawn, setDrawn] = useState<string | null>(null); // the source of the diagram that is shown
  const [chosen, choose] = useState<boolean | null>(null); // whether the reader wants to see the source
  const [runs, setRuns] = useState(0);
  const isDiagram = kind === "mermaid";
  const folds = isDiagram && !growing && drawn === code;
  const open = !folds || (chosen ?? false);
  return (
    <figure class="code">
      <figcaption>
        <span>{language}</span>
        <span class="grow" />
        {folds && <IconButton icon="code" label={open ? t.value.hideSource : t.value.showSource} pressed={open} onClick={() => choose(!open)} />}
        {RUNS.has(name) && !growing && <IconButton icon="play" label={t.value.runIt} onClick={() => setRuns(runs + 1)} />}
        {kind && <IconButton icon={isDiagram ? "expand" : "play"} label={t.value.runCode} onClick={() => openArtifact(kind, code)} />}
        <CopyButton text={code} label={t.value.copyCode} />
      </figcaption>
      {isDiagram && <Diagram source={code} onDrawn={setDrawn} />}
      {open && (
        <pre tabIndex={0} class={isDiagram ? "under-diagram" : undefined}>
          <code>{tree ? spans(tree) : code.length > LONG ? pieces(code) : code}</code>
        </pre>
      )}
      {runs > 0 && <RunView key={runs} code={code} close={() => setRuns(0)} />}
    </figure>
  );
}

function pieces(code: string): ComponentChildren {
  const parts: string[] = [];
  for (let from = 0; from < code.length; ) {
    const line = code.indexOf("\n", from + PIECE);
    const end = line < 0 || line - from > 4 * PIECE ? Math.min(code.length, from + PIECE) : line + 1;
    parts.push(code.slice(from, end));
    from = end;
  }
  return parts.map((part, at) => (
    <span key={at} class="code-piece">
      {part}
    </span>
  ));
}

function spans(node: CodeNode): ComponentChildren {
  return node.children.map((child) =>
    typeof child === "string" ? child : <span class={scopeClass(child.scope)}>{spans(child)}</span>,
  );
}

/** highlight.js scopes are words with dots ("title.function"); the first word decides the colour. */
function scopeClass(scope: string | null): string | undefined {
  const word = scope?.split(/[.:]/, 1)[0];
  return word ? `hl-${word}` : undefined;
}
