import { useState } from "preact/hooks";
import { ApiError, api } from "../../app/api";
import { IconButton } from "../../ui/Button";
import { CopyButton } from "../../ui/CopyButton";
import { formatNumber, formatRate, formatSeconds } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { notify } from "../../ui/notice";
import { tell } from "../list";
import { hasContent, type Message, tokensPerSecond } from "../model";
import { model, modelName, models, onServer } from "../service";
import { at } from "../server/backend";
import { answerAgain, sideBySide, streaming, toggleSideBySide } from "../thread";
import { t } from "../words";
import { Figures } from "./Figures";
import { Siblings } from "./Siblings";
import { Speak } from "./Speak";

/** What one can do with an answer, and what it took. */
export function Footer({ message, last }: { message: Message; last: boolean }) {
  const strings = t.value;
  const [open, setOpen] = useState(false);
  if (!hasContent(message) && message.siblings.length < 2) return null;
  const again = !streaming.value && message.state !== "failed";
  const line = usageLine(message);
  const isBeside = message.parent_id !== null && sideBySide.value.has(message.parent_id);
  return (
    <footer class={last || isBeside ? "answer-footer" : "answer-footer older"}>
      {!isBeside && <Siblings message={message} previous={strings.previousAnswer} next={strings.nextAnswer} />}
      {message.siblings.length > 1 && message.parent_id && (
        <IconButton
          icon="columns"
          label={isBeside ? strings.oneByOne : strings.sideBySide}
          onClick={() => toggleSideBySide(message.parent_id!)}
        />
      )}
      {message.text && <CopyButton text={message.text} label={strings.copy} />}
      {message.text && <Speak message={message} />}
      {again && <IconButton icon="retry" label={strings.retry} onClick={() => void answerAgain(message)} />}
      {onServer.value && <Rating message={message} />}
      {(again || onServer.value) && (
        <Menu label={strings.moreFor(modelName(message.model))} entries={() => entries(message, again)}>
          <Icon name="more" />
        </Menu>
      )}
      {isBeside && <Figures message={message} brief />}
      {line && !isBeside && (
        <button type="button" class="usage" aria-expanded={open} title={strings.figures} onClick={() => setOpen(!open)}>
          {line}
        </button>
      )}
      {open && !isBeside && <Figures message={message} />}
    </footer>
  );
}

function entries(message: Message, again: boolean): MenuEntry[] {
  const others = models.value.filter(({ id }) => id !== message.model);
  const found: MenuEntry[] = [];
  if (onServer.value && message.text) found.push({ label: t.value.remember, icon: "brain", run: () => void remember(message) });
  if (again && others.length > 0) {
    found.push({ heading: t.value.retryWith });
    for (const { id, name } of others) found.push({ label: name, icon: "retry", run: () => void answerAgain(message, [id]) });
  }
  return found.length > 0 ? found : [{ label: t.value.retry, icon: "retry", run: () => void answerAgain(message) }];
}

const LONGEST_FACT = 500; // characters

async function remember({ text }: Message): Promise<void> {
  const marked = getSelection()?.toString().trim();
  try {
    await api.post(at("memories"), { text: (marked || text).slice(0, LONGEST_FACT) });
    notify(t.value.rememberDone);
  } catch (error) {
    tell(error);
  }
}

function Rating({ message }: { message: Message }) {
  const [given, setGiven] = useState(message.rating ?? null);
  const rate = async (value: 1 | -1) => {
    const next = given === value ? null : value;
    setGiven(next);
    try {
      await api.post(at(`messages/${message.id}/rating`), { value: next });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setGiven(given);
      tell(error);
    }
  };
  return (
    <>
      <IconButton icon="thumbUp" label={t.value.good} pressed={given === 1} onClick={() => void rate(1)} />
      <IconButton icon="thumbDown" label={t.value.bad} pressed={given === -1} onClick={() => void rate(-1)} />
    </>
  );
}

/** Model (where it is not the one in the header), tokens, speed, time to the first piece. */
function usageLine(message: Message): string {
  const strings = t.value;
  const rate = tokensPerSecond(message);
  const written = message.usage ? message.usage.output_text + message.usage.output_reasoning : 0;
  const parts = [
    message.model && message.model !== model.value?.id ? modelName(message.model) : null,
    message.usage?.images ? strings.pictures(message.usage.images) : null,
    written > 0 ? strings.written(formatNumber(written)) : null,
    rate === null ? null : strings.perSecond(formatRate(rate)),
    message.ttft_ms === null ? null : strings.firstAfter(formatSeconds(message.ttft_ms)),
  ];
  return parts.filter((part) => part !== null).join(" · ");
}
