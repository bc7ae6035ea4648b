import type { ComponentChildren } from "preact";
import { t as shell } from "../../app/words";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { FailureNote } from "../../ui/FailureNote";

interface FormProps {
  title: string;
  action: string;
  children: ComponentChildren;
  wide?: boolean;
  /** The deed; the dialog closes when it is done and stays, with the reason, when it fails. */
  send: () => Promise<void>;
  onClose: () => void;
}

export function FormDialog({ title, action, children, wide = false, send, onClose }: FormProps) {
  const deed = useSend(async () => {
    await send();
    onClose();
  });
  return (
    <Dialog
      title={title}
      wide={wide}
      onClose={onClose}
      onSubmit={() => void deed.send()}
      footer={
        <>
          <span class="grow" />
          <Button onClick={onClose}>{shell.value.cancel}</Button>
          <Button type="submit" kind="primary" busy={deed.busy}>
            {action}
          </Button>
        </>
      }
    >
      <FailureNote failure={deed.failure} />
      {children}
    </Dialog>
  );
}
