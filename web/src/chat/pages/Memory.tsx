import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { useSend } from "../../app/useSend";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { TextField, Toggle } from "../../ui/Field";
import { tell } from "../list";
import { at } from "../server/backend";
import { t } from "../words";
import { Page, useLoaded } from "./Page";

interface Fact {
  id: string;
  text: string;
}

/** Prompts read it; models add to it. */
interface Use {
  on: boolean;
  grows: boolean;
}

const LONGEST = 500; // characters

export function Memory() {
  const facts = useLoaded(() => api.get<Fact[]>(at("memories")));
  const use = useLoaded(() => api.get<Use>(at("memory")));
  const [text, setText] = useState("");
  const add = useSend(async () => {
    await api.post(at("memories"), { text: text.trim() });
    setText("");
    await facts.load();
  });
  const turn = (wanted: Use) => void api.put(at("memory"), wanted).then(use.load, tell);
  return (
    <Page title={t.value.memory} hint={t.value.memoryHint} failure={facts.failure ?? use.failure}>
      {use.value && <Switches use={use.value} turn={turn} />}
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim()) void add.send();
        }}
      >
        <FailureNote failure={add.failure} />
        <TextField label={t.value.newMemory} placeholder={t.value.memoryPlaceholder} maxLength={LONGEST} value={text} onInput={setText} />
        <div class="buttons">
          <Button type="submit" kind="primary" busy={add.busy}>
            {t.value.save}
          </Button>
        </div>
      </form>
      {facts.value?.length === 0 && <EmptyState title={t.value.memoryEmpty} icon="brain" />}
      <ul class="plain-list">
        {facts.value?.map((fact) => (
          <FactRow key={fact.id} fact={fact} changed={facts.load} />
        ))}
      </ul>
    </Page>
  );
}

function Switches({ use: { on, grows }, turn }: { use: Use; turn: (wanted: Use) => void }) {
  return (
    <>
      <Toggle label={t.value.memoryOn} hint={t.value.memoryOnHint} checked={on} onChange={(wanted) => turn({ on: wanted, grows: false })} />
      <Toggle
        label={t.value.memoryGrows}
        hint={t.value.memoryGrowsHint}
        checked={grows}
        disabled={!on}
        onChange={(wanted) => turn({ on, grows: wanted })}
      />
    </>
  );
}

function FactRow({ fact, changed }: { fact: Fact; changed: () => Promise<void> }) {
  const [text, setText] = useState<string | null>(null);
  const save = () => {
    const wanted = text?.trim();
    setText(null);
    if (wanted && wanted !== fact.text) void api.patch(at(`memories/${fact.id}`), { text: wanted }).then(changed, tell);
  };
  if (text === null) {
    return (
      <li>
        <span class="plain-title wraps">{fact.text}</span>
        <IconButton icon="edit" label={`${t.value.edit}: ${fact.text}`} onClick={() => setText(fact.text)} />
        <IconButton
          icon="trash"
          label={`${t.value.remove}: ${fact.text}`}
          onClick={() => void api.delete(at(`memories/${fact.id}`)).then(changed, tell)}
        />
      </li>
    );
  }
  return (
    <li>
      <input
        class="rename"
        aria-label={t.value.memory}
        value={text}
        maxLength={LONGEST}
        ref={(field) => field?.focus()}
        onInput={(event) => setText(event.currentTarget.value)}
        onBlur={save}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.isComposing) save();
          if (event.key === "Escape") setText(null);
        }}
      />
    </li>
  );
}
