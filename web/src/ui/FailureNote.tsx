import type { Failure } from "../app/useSend";
import { Icon } from "./Icon";

/** What went wrong with a form or a page, and what to do about it. */
export function FailureNote({ failure }: { failure: Failure | null }) {
  if (failure === null) return null;
  return (
    <div class="banner" role="alert">
      <Icon name="warn" />
      <span>
        <strong>{failure.what}</strong>
        {failure.hint && <span class="detail">{failure.hint}</span>}
      </span>
    </div>
  );
}
