import { useEffect, useMemo } from "preact/hooks";
import { Button } from "../../ui/Button";
import { hasContent, type Message, type ToolCallPart } from "../model";
import { drawsPictures, modelName } from "../service";
import { cell, fetchBeside, sideBySide, turnTo } from "../thread";
import { tell } from "../list";
import { t } from "../words";
import { Markdown, Marks } from "../markdown/Markdown";
import { Images } from "./Attachments";
import { Ending, LeftOut } from "./Ending";
import { Footer } from "./Footer";
import { Waiting } from "./Pending";
import { Reasoning } from "./Reasoning";
import { Sources, sourceOf } from "./Sources";
import { ToolCard } from "./ToolCard";

export function AnswerView({ message, last }: { message: Message; last: boolean }) {
  if (message.parent_id && message.siblings.length > 1 && sideBySide.value.has(message.parent_id)) return <Beside shown={message} last={last} />;
  return <Answer message={message} last={last} />;
}

function Answer({ message, last }: { message: Message; last: boolean }) {
  const live = message.state === "running";
  return (
    <section class={live ? "answer live" : "answer"}>
      <h2 class="visually-hidden">{modelName(message.model)}</h2>
      <AnswerBody message={message} />
      {!live && <LeftOut parts={message.parts} />}
      {!live && <Ending message={message} last={last} />}
      {!live && <Footer message={message} last={last} />}
    </section>
  );
}

/** What an answer says, without what one can do with it. */
export function AnswerBody({ message }: { message: Message }) {
  const { parts } = message;
  const find = useMemo(() => (mark: string) => sourceOf(parts, mark), [parts]); // the text grows, the parts seldom
  const live = message.state === "running";
  return (
    <Marks.Provider value={find}>
      {message.reasoning && <Reasoning message={message} />}
      {segments(message).map((segment, index, all) =>
        typeof segment === "string" ? (
          <Markdown key={index} text={segment} live={live && index === all.length - 1} />
        ) : (
          <ToolCard key={segment.id || index} call={segment} live={live} />
        ),
      )}
      <Images parts={message.parts} />
      <Sources parts={message.parts} />
      {live && !hasContent(message) && <Waiting drawing={drawsPictures(message.model)} />}
    </Marks.Provider>
  );
}

/** Text and tool calls in the order in which they happened. */
function segments({ text, parts }: Message): (string | ToolCallPart)[] {
  const calls = parts.filter((part) => part.type === "tool_call");
  if (calls.length === 0) return text ? [text] : [];
  const found: (string | ToolCallPart)[] = [];
  let from = 0;
  for (const call of calls.toSorted((a, b) => (a.at ?? 0) - (b.at ?? 0))) {
    const at = Math.max(from, Math.min(call.at ?? text.length, text.length));
    if (text.slice(from, at).trim()) found.push(text.slice(from, at));
    found.push(call);
    from = at;
  }
  if (text.slice(from).trim()) found.push(text.slice(from));
  return found;
}

/** All answers to one question, a column each. */
function Beside({ shown, last }: { shown: Message; last: boolean }) {
  return (
    <div class="beside" role="group" aria-label={t.value.sideBySide} data-columns={Math.min(4, shown.siblings.length)}>
      {shown.siblings.map((id) => (
        <Column key={id} id={id} chosen={id === shown.id} last={last} />
      ))}
    </div>
  );
}

function Column({ id, chosen, last }: { id: string; chosen: boolean; last: boolean }) {
  const message = cell(id)?.value;
  useEffect(() => {
    if (!message) fetchBeside(id).catch(tell);
  }, [id]);
  return (
    <section class={chosen ? "column chosen" : "column"}>
      <header>
        <strong>{modelName(message?.model ?? null)}</strong>
        {chosen ? <span class="tag">{t.value.chosen}</span> : message && message.state !== "running" && <Button onClick={() => void turnTo(id)}>{t.value.goOnWith}</Button>}
      </header>
      {message ? <Answer message={message} last={last && chosen} /> : <Waiting />}
    </section>
  );
}
