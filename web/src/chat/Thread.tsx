import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { address } from "../app/router";
import { Icon } from "../ui/Icon";
import { Lazy } from "../ui/Lazy";
import { titleOf } from "./list";
import { AnswerView } from "./message/AnswerView";
import { Pending } from "./message/Pending";
import { QuestionView } from "./message/QuestionView";
import { cell, connectionLost, conversation, earlier, loadEarlier, path, sending, streaming } from "./thread";
import { t } from "./words";

const AT_BOTTOM_PX = 24;
const PINNED = 8; // messages at the end that are drawn at once
const GUESS_PX = 160;

/** The conversation. Follows the stream only while the reader is at the bottom; one step up and it stays put. */
export function Thread() {
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const lastTop = useRef(0);
  const begun = useRef(false); // the first look at a conversation may be at a message that was searched for
  const [away, setAway] = useState(false);
  const ids = path.value;

  const toBottom = () => {
    const box = scroller.current;
    if (box) box.scrollTop = box.scrollHeight;
  };
  const onScroll = () => {
    const box = scroller.current;
    if (!box) return;
    const below = box.scrollHeight - box.clientHeight - box.scrollTop;
    if (below <= AT_BOTTOM_PX) follows.current = true;
    if (box.scrollTop < lastTop.current && below > 1) follows.current = false;
    lastTop.current = box.scrollTop;
    setAway(below > AT_BOTTOM_PX && !follows.current);
  };
  useLayoutEffect(() => {
    const content = scroller.current?.firstElementChild;
    if (!content) return;
    const observer = new ResizeObserver(() => follows.current && toBottom());
    observer.observe(content);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const wanted = address.peek().query.get("at");
    const place = wanted && !begun.current ? document.getElementById(wanted) : null;
    begun.current = true;
    follows.current = place === null; // a new question: the reader wants to see it
    if (place) place.scrollIntoView({ block: "center" });
    else toBottom();
  }, [ids.at(-1), sending.value]);
  useEarlier(scroller);

  return (
    <div class="scroll" ref={scroller} onScroll={onScroll} tabIndex={-1}>
      <div class="thread" role="log" aria-live="polite" aria-busy={streaming.value} aria-label={titleOf(conversation.value ?? { title: "" })}>
        <h1 class="visually-hidden">{titleOf(conversation.value ?? { title: "" })}</h1>
        {earlier.value && <div class="loading small" data-earlier role="status" aria-label={t.value.loading} />}
        {ids.map((id, index) => (
          <Lazy key={id} id={id} class="message-place" guess={GUESS_PX} pinned={index >= ids.length - PINNED}>
            {() => <MessageView id={id} last={index === ids.length - 1} />}
          </Lazy>
        ))}
        {sending.value && <Pending {...sending.value} />}
        {connectionLost.value && <p class="ending">{t.value.reconnecting}</p>}
      </div>
      {away && (
        <button
          type="button"
          class="to-latest"
          aria-label={t.value.toLatest}
          title={t.value.toLatest}
          onClick={() => {
            follows.current = true;
            toBottom();
          }}
        >
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}

function MessageView({ id, last }: { id: string; last: boolean }) {
  const message = cell(id)?.value;
  if (!message) return null;
  return message.role === "user" ? <QuestionView message={message} /> : <AnswerView message={message} last={last} />;
}

/** Load what came before when the reader nears the beginning, and keep what they look at where it is. */
function useEarlier(scroller: { current: HTMLDivElement | null }): void {
  const before = useRef<{ first: string | undefined; height: number }>({ first: undefined, height: 0 });
  const first = path.value[0];
  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    // Browsers hold the place by themselves, but not at the very top, and Safari nowhere.
    const grown = box.scrollHeight - before.current.height;
    if (before.current.first && before.current.first !== first && grown > 0 && box.scrollTop < 1) box.scrollTop += grown;
    before.current = { first, height: box.scrollHeight };
  }, [first]);
  useEffect(() => {
    const mark = scroller.current?.querySelector("[data-earlier]");
    if (!mark) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void loadEarlier(), {
      root: scroller.current,
      rootMargin: "1500px 0px",
    });
    observer.observe(mark);
    return () => observer.disconnect();
  }, [earlier.value]);
}
