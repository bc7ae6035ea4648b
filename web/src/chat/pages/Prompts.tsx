import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { useSend } from "../../app/useSend";
import { Button, IconButton } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { Choice, TextArea, TextField } from "../../ui/Field";
import { tell } from "../list";
import { loadPrompts, type Prompt } from "../prompts";
import { at } from "../server/backend";
import { t } from "../words";
import { Page, useLoaded } from "./Page";

export function Prompts() {
  const { value, failure, load } = useLoaded(() => api.get<Prompt[]>(at("prompts")));
  const changed = async () => {
    await Promise.all([load(), loadPrompts()]);
  };
  const open = (prompt: Prompt | null) => showDialog((close) => <Editor prompt={prompt} close={close} changed={changed} />);
  const remove = async ({ id, command }: Prompt) => {
    if (!(await confirmed({ title: t.value.promptRemove, text: `/${command}`, action: t.value.remove, danger: true }))) return;
    await api.delete(at(`prompts/${id}`)).then(changed, tell);
  };
  const action = (
    <Button kind="primary" icon="plus" onClick={() => open(null)}>
      {t.value.newPrompt}
    </Button>
  );
  return (
    <Page title={t.value.prompts} hint={t.value.promptsHint} action={action} failure={failure}>
      {value?.length === 0 && <EmptyState title={t.value.prompts} hint={t.value.promptsHint} icon="list" />}
      <ul class="plain-list">
        {value?.map((prompt) => (
          <li key={prompt.id}>
            <code>/{prompt.command}</code>
            <span class="plain-title">{prompt.title}</span>
            {prompt.mine !== false && (
              <span class="buttons">
                <IconButton icon="edit" label={`${t.value.edit} /${prompt.command}`} onClick={() => open(prompt)} />
                <IconButton icon="trash" label={`${t.value.remove} /${prompt.command}`} onClick={() => void remove(prompt)} />
              </span>
            )}
          </li>
        ))}
      </ul>
    </Page>
  );
}

interface EditorProps {
  prompt: Prompt | null;
  close: () => void;
  changed: () => Promise<void>;
}

function Editor({ prompt, close, changed }: EditorProps) {
  const [command, setCommand] = useState(prompt?.command ?? "");
  const [title, setTitle] = useState(prompt?.title ?? "");
  const [text, setText] = useState(prompt?.text ?? "");
  const [visibility, setVisibility] = useState<Prompt["visibility"]>(prompt?.visibility ?? "private");
  const { busy, failure, send } = useSend(async () => {
    const body = { command: command.trim().replace(/^\//, ""), title: title.trim() || command, text, visibility };
    if (prompt) await api.patch(at(`prompts/${prompt.id}`), body);
    else await api.post(at("prompts"), body);
    await changed();
    close();
  });
  const footer = (
    <>
      <span class="grow" />
      <Button type="submit" kind="primary" busy={busy}>
        {t.value.save}
      </Button>
    </>
  );
  return (
    <Dialog title={prompt ? `/${prompt.command}` : t.value.newPrompt} footer={footer} onClose={close} onSubmit={() => void send()}>
      <FailureNote failure={failure} />
      <TextField label={t.value.command} hint={t.value.commandHint} required autofocus maxLength={40} value={command} onInput={setCommand} />
      <TextField label={t.value.title} maxLength={100} value={title} onInput={setTitle} />
      <TextArea label={t.value.promptText} required rows={6} value={text} onInput={setText} />
      <Choice
        label={t.value.visibility}
        value={visibility}
        options={Object.entries(t.value.visibilities)}
        onChange={(value) => setVisibility(value as Prompt["visibility"])}
      />
    </Dialog>
  );
}
