import { Icon } from "../../ui/Icon";
import type { AttachmentPart } from "../model";
import { t } from "../words";
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

export function Waiting({ drawing = false }: { drawing?: boolean }) {
  if (drawing) {
    return (
      <p class="drawing" role="status">
        <Icon name="image" /> {t.value.drawing}
      </p>
    );
  }
  return (
    <p class="waiting" aria-hidden="true">
      <i />
      <i />
      <i />
    </p>
  );
}
