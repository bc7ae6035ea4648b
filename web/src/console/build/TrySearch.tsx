import { useState } from "preact/hooks";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { formatPercent } from "../../ui/format";
import { Section } from "../parts/Page";
import type { Place } from "./files";
import { BASES, type Found } from "./knowledge";
import { callEnveloped } from "./workKey";
import { t } from "./words";

export function TrySearch({ place, base }: { place: Place; base: string }) {
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<Found[] | null>(null);
  const { busy, failure, send } = useSend(async () => {
    const body = { query, knowledge_ids: [base], top_k: 5 };
    setFound(await callEnveloped<Found[]>(`${BASES}/retrieve`, { ...place, method: "POST", body }));
  });
  return (
    <Section title={t.value.trySearch} hint={t.value.trySearchHint}>
      <form class="controls" onSubmit={(event) => (event.preventDefault(), void send())}>
        <div class="grow">
          <TextField label={t.value.question} value={query} onInput={setQuery} maxLength={1000} required />
        </div>
        <Button type="submit" icon="search" busy={busy}>
          {t.value.search}
        </Button>
      </form>
      <FailureNote failure={failure} />
      {found?.length === 0 && <p class="hint">{t.value.nothingFound}</p>}
      {found && found.length > 0 && (
        <ol class="found plain">
          {found.map(({ text, score, metadata }) => (
            <li key={metadata._id}>
              <p class="hint">
                <strong>{metadata.doc_name}</strong>
                {metadata.page !== null && ` · ${t.value.page(metadata.page)}`}
                {metadata.contextual_text && ` · ${metadata.contextual_text}`}
                {` · ${t.value.score(formatPercent(score))}`}
              </p>
              <blockquote>{text}</blockquote>
            </li>
          ))}
        </ol>
      )}
    </Section>
  );
}
