import { useEffect, useState } from "preact/hooks";
import { copyText } from "./clipboard";
import { t } from "../app/words";
import { notify } from "./notice";
import { Icon } from "./Icon";

const SHOWN_MS = 1600;

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    if (await copyText(text)) setCopied(true);
    else notify(t.value.copyFailed);
  };
  const said = copied ? t.value.copied : label;
  return (
    <button type="button" class="quiet" aria-label={said} title={said} onClick={() => void copy()}>
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}
