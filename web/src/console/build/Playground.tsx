import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { isObject, type Json } from "../../app/json";
import { preferences } from "../../app/preferences";
import { address, go } from "../../app/router";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Choice, Select, TextArea, Toggle } from "../../ui/Field";
import { Tabs } from "../../ui/Tabs";
import type { PageProps } from "../pages";
import { Code } from "../parts/Code";
import { Loaded } from "../parts/Loaded";
import { Intro, Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { type Dialect, DIALECTS, MANNERS, type Question } from "./dialects";
import { type Offer, offersOf } from "./Offers";
import { ProjectChoice } from "./ProjectChoice";
import { type Language, snippet, SPOKEN_BY } from "./snippets";
import { type Trial, tryOut } from "./trial";
import { TrialView } from "./TrialView";
import { t } from "./words";

export default function Playground({ org }: PageProps) {
  const offers = useLoad(() => offersOf(org), [org]);
  return (
    <>
      <Intro hint={t.value.playgroundHint} />
      <Loaded load={offers}>
        {(models) =>
          models.length === 0 ? (
            <EmptyState title={t.value.noModels} hint={t.value.noModelsHint} icon="box">
              <Button onClick={() => go("console/models")}>{t.value.models}</Button>
            </EmptyState>
          ) : (
            <ProjectChoice org={org} label={t.value.chooseProject}>
              {(project, choice) => <Bench org={org} project={project} choice={choice} models={models} />}
            </ProjectChoice>
          )
        }
      </Loaded>
    </>
  );
}

interface BenchProps {
  org: string;
  project: string;
  choice: ComponentChildren;
  models: Offer[];
}

function Bench({ org, project, choice, models }: BenchProps) {
  const [dialect, setDialect] = useState<Dialect>("openai");
  const [question, setQuestion] = useState<Question>(() => {
    const wanted = address.value.query.get("model") ?? preferences.value.model;
    const known = models.find(({ name }) => name === wanted) ?? models[0];
    return { model: known?.name ?? "", text: t.value.defaultMessage, stream: true };
  });
  const [text, setText] = useState(() => written(dialect, question));
  const [trial, setTrial] = useState<Trial | null>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const { body, wrong } = read(text);

  const ask = (change: Partial<Question>, spoken = dialect) => {
    const next = { ...question, ...change };
    setQuestion(next);
    setDialect(spoken);
    setText(written(spoken, next));
  };
  const send = () => {
    if (!body) return;
    running.current = new AbortController();
    void tryOut({ org, project, path: MANNERS[dialect].path, body, signal: running.current.signal }, setTrial);
  };
  const busy = trial?.state === "running";
  return (
    <>
      <div class="controls">
        <Choice label={t.value.dialect} value={dialect} options={DIALECTS.map((each) => [each, t.value.dialects[each]])} onChange={(value) => ask({}, value as Dialect)} />
        <Select label={t.value.model} value={question.model} options={models.map(({ name }) => [name, name])} onChange={(model) => ask({ model })} />
        {choice}
      </div>
      <div class="playground">
        <div>
          <TextArea label={t.value.message} value={question.text} onInput={(said) => ask({ text: said })} rows={3} />
          <Toggle label={t.value.streaming} checked={question.stream} onChange={(stream) => ask({ stream })} />
          <div class="raw">
            <TextArea label={t.value.body} value={text} onInput={setText} hint={t.value.bodyHint} error={wrong && t.value.badJson(wrong)} rows={14} />
          </div>
          <div class="buttons">
            {busy ? (
              <Button icon="stop" onClick={() => running.current?.abort()}>
                {t.value.stop}
              </Button>
            ) : (
              <Button kind="primary" icon="play" disabled={!body} onClick={send}>
                {t.value.send}
              </Button>
            )}
          </div>
        </div>
        <div>
          <TrialView trial={trial} dialect={dialect} />
        </div>
      </div>
      {body && <Snippets dialect={dialect} body={body} />}
    </>
  );
}

const written = (dialect: Dialect, question: Question) => JSON.stringify(MANNERS[dialect].body(question), null, 2);

function read(text: string): { body: Json | null; wrong: string | null } {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? { body: value, wrong: null } : { body: null, wrong: "{ … }" };
  } catch (error) {
    return { body: null, wrong: error instanceof Error ? error.message : String(error) };
  }
}

function Snippets({ dialect, body }: { dialect: Dialect; body: Json }) {
  const [wanted, setWanted] = useState<string>("curl");
  const offered = SPOKEN_BY[dialect];
  const language = offered.find((each) => each === wanted) ?? offered[0] ?? "curl";
  return (
    <Section title={t.value.code} hint={t.value.codeHint}>
      <div>
        <Tabs label={t.value.code} tabs={offered.map((each: Language) => [each, t.value.languages[each]])} chosen={language} onChoose={setWanted}>
          <Code text={snippet(language, dialect, new URL(document.baseURI).href, body)} label={t.value.languages[language]} />
        </Tabs>
      </div>
    </Section>
  );
}
