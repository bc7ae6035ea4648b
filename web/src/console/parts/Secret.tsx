import { t as shell } from "../../app/words";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { Code } from "./Code";

interface SecretProps {
  title: string;
  hint: string;
  secret: string;
  onClose: () => void;
}

/** Something that is shown this once. */
export function SecretDialog({ title, hint, secret, onClose }: SecretProps) {
  return (
    <Dialog
      title={title}
      onClose={onClose}
      footer={
        <>
          <span class="grow" />
          <Button kind="primary" onClick={onClose}>
            {shell.value.done}
          </Button>
        </>
      }
    >
      <p>{hint}</p>
      <Code text={secret} label={title} />
    </Dialog>
  );
}
