import { showDialog } from "../../app/dialogs";
import { Dialog } from "../../ui/Dialog";
import { Icon } from "../../ui/Icon";
import { safeHref } from "../markdown/blocks";
import type { CitationPart, Part } from "../model";
import { openCitation } from "../sources";
import { t } from "../words";

/** What an answer rests on: each source opens at the passage that was used. */
export function Sources({ parts }: { parts: readonly Part[] }) {
  const cited = parts.filter((part): part is CitationPart => part.type === "citation");
  if (cited.length === 0) return null;
  return (
    <div class="sources">
      <span>{t.value.sources(cited.length)}</span>
      {cited.map((source, index) => (
        <button key={source.id || index} type="button" class="source" title={source.title} onClick={() => showSource(source)}>
          <b>{source.id || index + 1}</b>
          <span>{source.title || source.url}</span>
        </button>
      ))}
    </div>
  );
}

/** What opens the source that a mark in the text names. */
export function sourceOf(parts: readonly Part[], mark: string): (() => void) | null {
  const found = parts.find((part): part is CitationPart => part.type === "citation" && part.id === mark);
  return found ? () => showSource(found) : null;
}

/** Of a document, its text at the span that was cited; of a page of the web, what was quoted. */
function showSource(cited: CitationPart): void {
  if (openCitation(cited)) return;
  const { title, url, quote, start, end } = cited;
  const href = url ? safeHref(url) : null;
  showDialog((close) => (
    <Dialog title={title || url || ""} onClose={close}>
      {quote && <blockquote class="quote">{quote}</blockquote>}
      {typeof start === "number" && typeof end === "number" && <p class="hint">{`${start}–${end}`}</p>}
      {href && (
        <a class="button" href={href} target="_blank" rel="noopener noreferrer">
          <Icon name="external" />
          {t.value.openSource}
        </a>
      )}
    </Dialog>
  ));
}
