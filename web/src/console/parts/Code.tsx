import { CopyButton } from "../../ui/CopyButton";
import { t as shell } from "../../app/words";

/** Text of a machine, to read and to copy. */
export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div class="code">
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <CopyButton text={text} label={shell.value.copy} />
    </div>
  );
}
