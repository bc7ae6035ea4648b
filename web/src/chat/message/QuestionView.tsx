import { useState } from "preact/hooks";
import { Button, IconButton } from "../../ui/Button";
import { CopyButton } from "../../ui/CopyButton";
import { formatNumber } from "../../ui/format";
import { GrowingText } from "../../ui/GrowingText";
import type { Message } from "../model";
import { editMessage, streaming } from "../thread";
import { t } from "../words";
import { Attachments } from "./Attachments";
import { Siblings } from "./Siblings";

const LONG = 4_000; // characters; a longer question is folded

export function QuestionView({ message }: { message: Message }) {
  const [editing, setEditing] = useState(false);
  const strings = t.value;
  if (editing) return <QuestionEditor message={message} close={() => setEditing(false)} />;
  return (
    <section class="question">
      <h2 class="visually-hidden">{strings.you}</h2>
      <Attachments parts={message.parts} />
      {message.text && <Bubble text={message.text} />}
      <div class="tools">
        <Siblings message={message} previous={strings.previousQuestion} next={strings.nextQuestion} />
        <CopyButton text={message.text} label={strings.copy} />
        {!streaming.value && <IconButton icon="edit" label={strings.edit} onClick={() => setEditing(true)} />}
      </div>
    </section>
  );
}

function Bubble({ text }: { text: string }) {
  const [open, setOpen] = useState(false);
  const folded = text.length > LONG && !open;
  return (
    <div class="bubble">
      {folded ? `${text.slice(0, LONG)}…` : text}
      {folded && (
        <button type="button" class="link" onClick={() => setOpen(true)}>
          {t.value.showAll} · {t.value.longMessage(formatNumber(text.length))}
        </button>
      )}
    </div>
  );
}

function QuestionEditor({ message, close }: { message: Message; close: () => void }) {
  const [text, setText] = useState(message.text);
  const [busy, setBusy] = useState(false);
  const strings = t.value;
  const submit = async () => {
    if (!text.trim() || busy) return;
    setBusy(true);
    if (await editMessage(message, text.trim())) close();
    else setBusy(false);
  };
  return (
    <form
      class="question-editor"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <GrowingText value={text} label={strings.editing} onInput={setText} onSubmit={() => void submit()} onEscape={close} autoFocus />
      <div class="buttons">
        <Button onClick={close}>{strings.cancel}</Button>
        <Button type="submit" kind="primary" busy={busy} disabled={!text.trim()}>
          {strings.send}
        </Button>
      </div>
    </form>
  );
}
