import { useEffect, useState } from "preact/hooks";
import { Avatar } from "../app/AccountBar";
import { formatNumber } from "../ui/format";
import { Icon, Mark } from "../ui/Icon";
import { safeHref } from "./markdown/blocks";
import { tell } from "./list";
import { type Assistant, loadAssistant } from "./pages/assistant";
import { projects } from "./projects";
import { model, onServer, server } from "./service";
import { seed, send } from "./thread";
import { t } from "./words";

export function Welcome() {
  const { assistant_id, temporary } = seed.value;
  return (
    <div class="scroll" tabIndex={-1}>
      {assistant_id ? <WithAssistant key={assistant_id} id={assistant_id} /> : <Plain />}
      {temporary && (
        <p class="temporary-note">
          <Icon name="ghost" />
          {t.value.temporaryOn}
        </p>
      )}
    </div>
  );
}

function Plain() {
  const strings = t.value;
  const project = projects.value.find(({ id }) => id === seed.value.project_id);
  return (
    <div class="welcome">
      <Mark />
      <h1>{project ? project.name : strings.greeting}</h1>
      {project ? <p class="model-card">{project.instructions}</p> : <ModelCard />}
      <Suggestions list={strings.suggestions} />
    </div>
  );
}

function WithAssistant({ id }: { id: string }) {
  const [assistant, setAssistant] = useState<Assistant | null>(null);
  useEffect(() => {
    loadAssistant(id).then((found) => {
      if (found) setAssistant(found);
      else seed.value = {}; // it is gone: a conversation without it
    }, tell);
  }, [id]);
  if (assistant === null) return <div class="welcome" />;
  return (
    <div class="welcome">
      <Avatar name={assistant.name} picture={assistant.picture} />
      <h1>{assistant.name}</h1>
      <p class="model-card">{assistant.description}</p>
      <Suggestions list={assistant.examples.map((prompt) => ({ prompt }))} />
    </div>
  );
}

function Suggestions({ list }: { list: readonly { title?: string; prompt: string }[] }) {
  return (
    <ul class="suggestions">
      {list.map(({ title, prompt }) => (
        <li key={prompt}>
          <button type="button" onClick={() => void send(prompt)}>
            {title && <strong>{title}</strong>}
            <span>{prompt}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function ModelCard() {
  const strings = t.value;
  const shown = model.value;
  if (shown === null) {
    return <p class="model-card">{server.value.state === "connecting" ? strings.connecting : "\u00A0"}</p>;
  }
  if (onServer.value && !shown.licence && !shown.source) return null;
  const facts = [
    shown.licence && { label: strings.licence, value: shown.licence },
    shown.context && { label: strings.contextLength, value: strings.tokens(formatNumber(shown.context)) },
    shown.source && { label: strings.source, value: sourceLink(shown.source) },
  ].filter((fact) => typeof fact === "object" && fact !== null);
  return (
    <div class="model-card">
      <p>
        {strings.talkingTo}
        <strong>{shown.name}</strong>
        {strings.runsHere}
      </p>
      <dl>
        {facts.map(({ label, value }) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function sourceLink(source: string) {
  const href = safeHref(source);
  if (href === null || !href.startsWith("http")) return source;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {new URL(href).host}
    </a>
  );
}
