import { useEffect } from "preact/hooks";
import { lazy } from "../app/lazy";
import { Button } from "../ui/Button";
import { EmptyState } from "../ui/EmptyState";
import { artifact } from "./artifacts";
import { Composer } from "./composer/Composer";
import { Header } from "./Header";
import { titleOf } from "./list";
import { closeSource, source } from "./sources";
import { conversation, leaf, openId, path, sending, streaming, threadState, tryOpening } from "./thread";
import { Thread } from "./Thread";
import { Welcome } from "./Welcome";
import { t } from "./words";

const ArtifactPanel = lazy<object>(() => import("./ArtifactPanel"));
const SourcePanel = lazy<object>(() => import("./SourcePanel"));

export function Conversation() {
  const shown = conversation.value;
  const title = shown ? titleOf(shown) : null;
  useEffect(() => {
    document.title = title ? `${title} · OpenGLM` : "OpenGLM";
  }, [title]);
  useEffect(() => closeSource, [openId.value]); // it belongs to what it was opened from
  return (
    <div class="split">
      <div class="split-main">
        <Header />
        <main class="chat">
          <Body />
          {threadState.value !== "missing" && <Composer />}
        </main>
      </div>
      {source.value ? <SourcePanel /> : artifact.value && <ArtifactPanel />}
      <SpokenState />
    </div>
  );
}

function Body() {
  const state = threadState.value;
  if (state === "missing") return <EmptyState title={t.value.gone} hint={t.value.goneHint} icon="search" />;
  if (state === "failed") {
    return (
      <EmptyState title={t.value.unreachable} hint={t.value.unreachableHint} icon="warn">
        <Button onClick={() => void tryOpening()}>{t.value.tryAgain}</Button>
      </EmptyState>
    );
  }
  if (path.value.length > 0 || sending.value) return <Thread key={conversation.value?.id ?? ""} />;
  if (state !== "ready" || openId.value !== null) return <div class="scroll loading" role="status" aria-label={t.value.loading} />;
  return <Welcome />;
}

/** What a screen reader hears about the stream: that it began, that it ended. The text itself is in the log. */
function SpokenState() {
  const said = streaming.value ? t.value.answering : leaf.value?.state === "done" ? t.value.answerComplete : "";
  return (
    <div class="visually-hidden" role="status">
      {said}
    </div>
  );
}
