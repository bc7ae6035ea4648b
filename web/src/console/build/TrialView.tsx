import { useState } from "preact/hooks";
import { Link } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { formatBytes, formatSeconds } from "../../ui/format";
import { Tabs } from "../../ui/Tabs";
import { t as shell } from "../../app/words";
import { Code } from "../parts/Code";
import { Pill } from "../parts/Pill";
import { type Dialect, textIn } from "./dialects";
import type { Trial } from "./trial";
import { t } from "./words";

/** What came back: the text, the bytes as they came, the headers, and the way to the bill. */
export function TrialView({ trial, dialect }: { trial: Trial | null; dialect: Dialect }) {
  const [tab, setTab] = useState("answer");
  if (trial === null) return <EmptyState title={t.value.notSent} hint={t.value.notSentHint} icon="play" />;
  const failure = trial.failure ?? (trial.state === "failed" ? { what: shell.value.unreachable, hint: null, param: null } : null);
  return (
    <>
      <FailureNote failure={failure} />
      <Status trial={trial} />
      <div>
        <Tabs
          label={t.value.answer}
          tabs={[
            ["answer", t.value.answer],
            ["raw", t.value.raw],
            ["headers", t.value.headers],
          ]}
          chosen={tab}
          onChoose={setTab}
        >
          {tab === "answer" && <Said trial={trial} dialect={dialect} />}
          {tab === "raw" && <Code text={laidOut(trial.raw)} label={t.value.raw} />}
          {tab === "headers" && <Code text={trial.headers.map(([name, value]) => `${name}: ${value}`).join("\n")} label={t.value.headers} />}
        </Tabs>
      </div>
    </>
  );
}

function Status({ trial }: { trial: Trial }) {
  const request = trial.headers.find(([name]) => name === "x-request-id")?.[1];
  return (
    <p class="answered" role="status">
      {trial.status === null ? (
        <Pill tone="busy">{t.value.waiting}</Pill>
      ) : (
        <Pill tone={trial.status < 400 ? (trial.state === "running" ? "busy" : "good") : "bad"}>{String(trial.status)}</Pill>
      )}
      {trial.state === "stopped" && <span>{t.value.stopped}</span>}
      {trial.lastMs !== null && <span>{t.value.took(formatSeconds(trial.lastMs))}</span>}
      {trial.raw && <span>{formatBytes(new Blob([trial.raw]).size)}</span>}
      {request && trial.state === "done" && trial.status !== null && trial.status < 400 && <Link to={`console/requests/${request}`}>{t.value.cost}</Link>}
    </p>
  );
}

function Said({ trial, dialect }: { trial: Trial; dialect: Dialect }) {
  const text = trial.status !== null && trial.status < 400 ? textIn(dialect, trial.raw) : laidOut(trial.raw);
  if (text) return <p class="said">{text}</p>;
  return trial.state === "running" ? <div class="loading small" /> : <p class="hint">{t.value.noText}</p>;
}

function laidOut(raw: string): string {
  try {
    return JSON.stringify(JSON.parse(raw), null, 2);
  } catch {
    return raw; // a stream of events
  }
}
