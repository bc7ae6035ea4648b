import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../app/words";
import { Button, IconButton } from "./Button";

interface DialogProps {
  title: string;
  children: ComponentChildren;
  footer?: ComponentChildren;
  wide?: boolean;
  /** A class for one that looks otherwise. */
  class?: string;
  onClose: () => void;
  /** With it the dialog is a form, and Enter in a field sends it. */
  onSubmit?: () => void;
}

/** A modal dialog of the browser's own: focus is kept inside, Escape closes, focus returns. */
export function Dialog({ title, children, footer, wide, class: look, onClose, onSubmit }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const opened = dialog.current;
    const before = document.activeElement;
    opened?.showModal();
    return () => {
      opened?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const send = (event: Event) => {
    event.preventDefault();
    onSubmit?.();
  };
  const content = (
    <>
      <header>
        <h2 id={id}>{title}</h2>
        <IconButton icon="close" label={t.value.close} onClick={onClose} />
      </header>
      <div class="fields">{children}</div>
      {footer && <footer>{footer}</footer>}
    </>
  );
  return (
    <dialog
      ref={dialog}
      class={`dialog${wide ? " wide" : ""}${look ? ` ${look}` : ""}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === dialog.current && onClose()}
    >
      {onSubmit ? (
        <form class="sheet" onSubmit={send}>
          {content}
        </form>
      ) : (
        <div class="sheet">{content}</div>
      )}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  text: ComponentChildren;
  action: string;
  danger?: boolean;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something that cannot be taken back. */
export function Confirm({ title, text, action, danger, onConfirm, onClose }: ConfirmProps) {
  const footer = (
    <>
      <span class="grow" />
      <Button onClick={onClose}>{t.value.cancel}</Button>
      <Button type="submit" kind={danger ? "danger" : "primary"}>
        {action}
      </Button>
    </>
  );
  return (
    <Dialog title={title} footer={footer} onClose={onClose} onSubmit={onConfirm}>
      <p>{text}</p>
    </Dialog>
  );
}
