import { useEffect, useState } from "preact/hooks";
import { showDialog } from "../../app/dialogs";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { TextField } from "../../ui/Field";
import { filled, loadPrompts, placeholdersOf, type Prompt, prompts } from "../prompts";
import { t } from "../words";
import { focusComposer } from "./focus";

/** What stands behind a slash at the very beginning; null: no command is being typed. */
export function slashOf(text: string): string | null {
  return /^\/([\p{L}\p{N}_-]*)$/u.exec(text)?.[1] ?? null;
}

interface SlashProps {
  query: string;
  fill: (text: string) => void;
  close: () => void;
  /** Where the list leaves what it does with the message box's keys. */
  keys: { current: ((event: KeyboardEvent) => boolean) | null };
}

/** The prompts whose command or title begins with what was typed, above the message box. */
export function Slash({ query, fill, close, keys }: SlashProps) {
  const [at, setAt] = useState(0);
  useEffect(() => {
    if (prompts.value === null) void loadPrompts();
  }, []);
  const wanted = query.toLowerCase();
  const found = (prompts.value ?? []).filter(({ command, title }) => command.toLowerCase().startsWith(wanted) || title.toLowerCase().includes(wanted)).slice(0, 8);
  const choose = (prompt: Prompt) => use(prompt, fill);
  useEffect(() => {
    keys.current = (event) => {
      const chosen = found[at];
      if (event.key === "Escape") close();
      else if (found.length === 0) return false;
      else if (event.key === "ArrowDown") setAt((at + 1) % found.length);
      else if (event.key === "ArrowUp") setAt((at - 1 + found.length) % found.length);
      else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") chosen && choose(chosen);
      else return false;
      return true;
    };
    return () => {
      keys.current = null;
    };
  });
  if (found.length === 0) return null;
  return (
    <div class="slash" role="listbox" aria-label={t.value.slashHint}>
      {found.map((prompt, index) => (
        <button
          key={prompt.id}
          type="button"
          role="option"
          aria-selected={index === at}
          tabIndex={-1}
          onPointerEnter={() => setAt(index)}
          onClick={() => choose(prompt)}
        >
          <code>/{prompt.command}</code>
          <span>{prompt.title}</span>
        </button>
      ))}
    </div>
  );
}

function use(prompt: Prompt, fill: (text: string) => void): void {
  const names = placeholdersOf(prompt.text);
  if (names.length === 0) {
    fill(prompt.text);
    focusComposer();
    return;
  }
  showDialog((close) => (
    <FillIn
      prompt={prompt}
      names={names}
      close={close}
      fill={(text) => {
        close();
        fill(text);
        queueMicrotask(focusComposer);
      }}
    />
  ));
}

function FillIn({ prompt, names, fill, close }: { prompt: Prompt; names: string[]; fill: (text: string) => void; close: () => void }) {
  const [values, setValues] = useState<Record<string, string>>({});
  const footer = (
    <>
      <span class="grow" />
      <Button type="submit" kind="primary">
        {t.value.fillIn}
      </Button>
    </>
  );
  return (
    <Dialog title={prompt.title || `/${prompt.command}`} footer={footer} onClose={close} onSubmit={() => fill(filled(prompt.text, values))}>
      {names.map((name, index) => (
        <TextField key={name} label={name} value={values[name] ?? ""} autofocus={index === 0} onInput={(text) => setValues({ ...values, [name]: text })} />
      ))}
    </Dialog>
  );
}
