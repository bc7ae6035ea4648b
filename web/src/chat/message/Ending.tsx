import { Icon } from "../../ui/Icon";
import { Button } from "../../ui/Button";
import { formatNumber } from "../../ui/format";
import { hasContent, type Message, type Part } from "../model";
import { answerAgain, streaming } from "../thread";
import { t } from "../words";

/** What of the conversation the model did not get to read, because it did not fit. */
export function LeftOut({ parts }: { parts: readonly Part[] }) {
  const cut = parts.find((part) => part.type === "cut");
  return cut ? <p class="ending">{t.value.leftOut(cut.messages, formatNumber(cut.messages))}</p> : null;
}

/** How an answer ended, where that is not simply "complete". */
export function Ending({ message, last }: { message: Message; last: boolean }) {
  const strings = t.value;
  const again = last && !streaming.value ? () => void answerAgain(message) : null;
  if (message.state === "failed") {
    const { title, detail } = failure(message);
    return (
      <div class="banner failed" role="alert">
        <Icon name="warn" />
        <span>
          <strong>{title}</strong>
          {detail && <span class="detail">{detail}</span>}
        </span>
        {again && <Button onClick={again}>{strings.tryAgain}</Button>}
      </div>
    );
  }
  const note = endingNote(message);
  if (note === null) return null;
  return (
    <p class="ending">
      {note}
      {again && (message.state === "interrupted" || !hasContent(message)) && (
        <button type="button" class="link" onClick={again}>
          {strings.tryAgain}
        </button>
      )}
    </p>
  );
}

function endingNote(message: Message): string | null {
  const strings = t.value;
  if (message.state === "stopped") return strings.stopped;
  if (message.state === "interrupted") return strings.cut;
  if (message.finish === "length") return strings.tokenLimit;
  if (message.state === "done" && !hasContent(message)) return strings.emptyAnswer;
  return null;
}

function failure({ error }: Message): { title: string; detail: string } {
  const strings = t.value;
  const detail = [error?.message, error?.hint].filter(Boolean).join("\n");
  if (!error || error.code === "unreachable") return { title: strings.unreachable, detail: strings.unreachableHint };
  if (error.code === "no_model") return { title: strings.noModel, detail };
  const status = Number(error.code);
  if (!Number.isInteger(status) || status < 400) return { title: strings.answerFailed, detail };
  return { title: status < 500 ? strings.refused(String(status)) : strings.serverFailed(String(status)), detail };
}
