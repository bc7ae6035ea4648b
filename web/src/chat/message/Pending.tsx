import type { AttachmentPart } from "../model";
import { Attachments } from "./Attachments";

/** What was just sent, until the server has taken it. */
export function Pending({ text, attachments }: { text: string; attachments: AttachmentPart[] }) {
  return (
    <>
      <section class="question">
        <Attachments parts={attachments} />
        {text && <div class="bubble">{text}</div>}
      </section>
      <section class="answer">
        <Waiting />
      </section>
    </>
  );
}

export function Waiting() {
  return (
    <p class="waiting" aria-hidden="true">
      <i />
      <i />
      <i />
    </p>
  );
}
