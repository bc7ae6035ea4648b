/** The text behind a citation: the span that was cited, and the rest of the document before and after it. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../app/api";
import { useKeys } from "../app/keys";
import { Button, IconButton } from "../ui/Button";
import { formatNumber } from "../ui/format";
import { Icon } from "../ui/Icon";
import { safeHref } from "./markdown/blocks";
import { contentOf } from "./message/Attachments";
import { closeSource, loadPassage, type Source, source } from "./sources";
import { t } from "./words";
import "../style/artifact.css";
import "../style/source.css";

const AROUND = 1500; // code points before and after the span at first
const MORE = 6000; // at a time
const MOST = 20_000; // that the server gives

/** What is shown so far: the span between what stands before and after it. `from` and `to` count code points. */
interface Shown {
  name: string;
  url: string | null;
  length: number;
  from: number;
  to: number;
  before: string;
  span: string;
  after: string;
}

export default function SourcePanel() {
  const shown = source.value;
  return shown && <Opened key={`${shown.id} ${shown.span?.start}`} of={shown} />;
}

function Opened({ of }: { of: Source }) {
  const strings = t.value;
  const panel = useRef<HTMLElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const { shown, status, busy, load, earlier, later } = useText(of, box);
  useEffect(() => {
    const opener = document.activeElement;
    box.current?.focus({ preventScroll: true });
    const forget = useKeys([{ keys: "escape", label: () => t.value.sourceClose, run: closeSource }]);
    return () => {
      forget();
      const at = document.activeElement;
      const isHere = at === document.body || panel.current?.contains(at);
      if (isHere && opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    };
  }, []);
  const name = shown?.name ?? of.title;
  const href = shown?.url ? safeHref(shown.url) : null;
  return (
    <aside ref={panel} class="artifact source-panel" aria-label={strings.sourceText}>
      <header class="header">
        <Icon name={of.kind === "documents" ? "book" : "file"} />
        <h2 class="artifact-name" title={name}>
          {name}
        </h2>
        <span class="grow" />
        {of.kind === "attachments" && (
          <a class="quiet" href={contentOf(of.id)} target="_blank" rel="noopener" aria-label={strings.download} title={strings.download}>
            <Icon name="download" />
          </a>
        )}
        {href && (
          <a class="quiet" href={href} target="_blank" rel="noopener noreferrer" aria-label={strings.openSource} title={strings.openSource}>
            <Icon name="external" />
          </a>
        )}
        <IconButton icon="close" label={strings.sourceClose} onClick={closeSource} />
      </header>
      <div class="source-text" ref={box} tabIndex={0} role="region" aria-label={name} aria-busy={busy}>
        {status !== null && <Missing status={status} of={of} again={load} />}
        {!shown && status === null && <div class="loading" role="status" aria-label={strings.loading} />}
        {shown && <Text shown={shown} of={of} earlier={earlier} later={later} />}
      </div>
      {shown && shown.length > 0 && (
        <p class="source-place">{strings.sourcePlace(formatNumber(shown.from + 1), formatNumber(shown.to), formatNumber(shown.length))}</p>
      )}
    </aside>
  );
}

interface TextProps {
  shown: Shown;
  of: Source;
  earlier: () => void;
  later: () => void;
}

function Text({ shown: { from, to, length, before, span, after }, of, earlier, later }: TextProps) {
  const strings = t.value;
  const same = of.span !== null && span.startsWith(of.span.quote);
  return (
    <>
      {of.span && !same && <Quoted note={strings.sourceChanged} quote={of.span.quote} />}
      {from > 0 && (
        <Button icon="up" onClick={earlier}>
          {strings.sourceEarlier}
        </Button>
      )}
      <p class="passage">
        {before}
        {same ? <mark>{span}</mark> : span}
        {after}
      </p>
      {length === 0 && <p class="hint">{strings.sourceEmpty}</p>}
      {to < length && (
        <Button icon="down" onClick={later}>
          {strings.sourceLater}
        </Button>
      )}
    </>
  );
}

/** Why there is no text: 404 it is gone, 409 it is being read, 400 it has none. What was quoted is there still. */
function Missing({ status, of, again }: { status: number; of: Source; again: () => void }) {
  const strings = t.value;
  const words: Record<number, string> = { 404: strings.sourceGone, 409: strings.sourceReading, 400: strings.sourceUnread };
  return (
    <>
      <p class="source-note" role="alert">
        <Icon name="warn" />
        {words[status] ?? strings.unreachable}
      </p>
      {!(status in words && status !== 409) && <Button onClick={again}>{strings.tryAgain}</Button>}
      {of.span && <Quoted note={strings.sourceQuoted} quote={of.span.quote} />}
    </>
  );
}

function Quoted({ note, quote }: { note: string; quote: string }) {
  return (
    <>
      <p class="hint">{note}</p>
      <blockquote class="quote">{quote}</blockquote>
    </>
  );
}

/** The text around the span, and more of it where the reader asks; what they look at stays where it is. */
function useText(of: Source, box: { current: HTMLDivElement | null }) {
  const [shown, setShown] = useState<Shown | null>(null);
  const [status, setStatus] = useState<number | null>(null);
  const [busy, setBusy] = useState(false); // a button that is disabled meanwhile would lose the focus
  const below = useRef<number | null>(null); // what stood below the top of the window before text came above
  const run = async (deed: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setStatus(null);
    try {
      await deed();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setStatus(error.status ?? 0);
    }
    setBusy(false);
  };
  const load = () => void run(async () => setShown(await begin(of)));
  const earlier = () =>
    void run(async () => {
      const start = Math.max(0, shown!.from - MORE);
      const { text } = await loadPassage(of, start, shown!.from - start);
      below.current = box.current!.scrollHeight - box.current!.scrollTop;
      setShown({ ...shown!, from: start, before: text + shown!.before });
    });
  const later = () =>
    void run(async () => {
      const { text, end } = await loadPassage(of, shown!.to, MORE);
      setShown({ ...shown!, to: end, after: shown!.after + text });
    });
  useEffect(load, []);
  useLayoutEffect(() => {
    box.current?.querySelector("mark")?.scrollIntoView({ block: "center" });
  }, [shown === null]);
  useLayoutEffect(() => {
    if (below.current !== null) box.current!.scrollTop = box.current!.scrollHeight - below.current;
    below.current = null;
  }, [shown?.from]);
  return { shown, status, busy, load, earlier, later };
}

async function begin(of: Source): Promise<Shown> {
  const start = of.span?.start ?? 0;
  const end = Math.min(of.span?.end ?? start, start + MOST - 2 * AROUND);
  const from = Math.max(0, start - AROUND);
  const most = of.span ? end + AROUND - from : MORE;
  const { text, ...piece } = await loadPassage(of, from, most);
  const letters = Array.from(text); // code points, as the span counts them
  const part = (first: number, last: number) => letters.slice(Math.max(0, first - piece.start), Math.max(0, last - piece.start)).join("");
  return {
    name: piece.name,
    url: piece.url,
    length: piece.length,
    from: piece.start,
    to: piece.end,
    before: part(piece.start, start),
    span: part(start, end),
    after: part(end, piece.end),
  };
}
