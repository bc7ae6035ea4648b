/** A conversation that somebody shared, as it was at that moment; for whoever has the link. */

import { useEffect, useState } from "preact/hooks";
import { once } from "../../app/api";
import { failureOf, type Failure } from "../../app/useSend";
import { EmptyState } from "../../ui/EmptyState";
import { formatTime } from "../../ui/format";
import { Mark } from "../../ui/Icon";
import { Link } from "../../ui/Button";
import { titleOf } from "../list";
import { AnswerBody } from "../message/AnswerView";
import { type Message, newMessage } from "../model";
import { t } from "../words";

interface Snapshot {
  title: string;
  created_at: number;
  messages: Pick<Message, "role" | "text">[];
}

export default function Shared({ token = "" }: { token?: string }) {
  const [shown, setShown] = useState<Snapshot | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    once<Snapshot>("GET", `api/chat/shared/${encodeURIComponent(token)}`).then(setShown, (error: unknown) => setFailure(failureOf(error)));
  }, [token]);
  const title = shown ? titleOf(shown) : t.value.sharedBy;
  useEffect(() => {
    document.title = `${title} · OpenGLM`;
  }, [title]);
  return (
    <div class="shared scroll">
      <header class="header">
        <Link to="" class="home">
          <Mark />
          <span>OpenGLM</span>
        </Link>
      </header>
      <main class="thread">
        {failure && <EmptyState title={t.value.shareGone} hint={t.value.shareGoneHint} icon="link" />}
        {shown && (
          <>
            <h1>{title}</h1>
            <p class="hint">
              {t.value.sharedBy} {t.value.sharedAt(formatTime(shown.created_at))}
            </p>
            {shown.messages.map((message, index) => (
              <Said key={index} message={newMessage({ parent_id: null, ...message })} />
            ))}
          </>
        )}
      </main>
    </div>
  );
}

function Said({ message }: { message: Message }) {
  if (message.role === "user") {
    return (
      <section class="question">
        <h2 class="visually-hidden">{t.value.you}</h2>
        <div class="bubble">{message.text}</div>
      </section>
    );
  }
  return (
    <section class="answer">
      <h2 class="visually-hidden">{message.model}</h2>
      <AnswerBody message={message} />
    </section>
  );
}
