import { useEffect, useState } from "preact/hooks";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { api } from "../api";
import { prefer, preferences } from "../preferences";
import { address, go } from "../router";
import { session } from "../session";
import { failureOf, type Failure } from "../useSend";
import { t } from "../words";
import { AccountForm } from "./AccountForm";
import { Plain } from "./Plain";

/** /setup?token=…, the address that `glm up` prints: the operator's account, the model, done. */
export default function SetUp() {
  const [step, setStep] = useState(0);
  const who = session.value;
  const begun = step > 0;
  const needed = (who.kind === "household" || who.kind === "stranger") && who.state.needs_first_account;
  if (!begun && !needed) {
    return (
      <Plain title={t.value.alreadySetUp}>
        <Button kind="primary" onClick={() => go("", { replace: true })}>
          {t.value.toStart}
        </Button>
      </Plain>
    );
  }
  const titles = [t.value.firstAccount, t.value.chooseModel, t.value.allSet];
  const hints = [t.value.firstAccountHint, t.value.chooseModelHint, t.value.allSetHint];
  return (
    <Plain title={titles[step] ?? ""} hint={hints[step]}>
      <ol class="steps" aria-label={t.value.setUp}>
        {t.value.setUpSteps.map((name, at) => (
          <li key={name} class={at < step ? "past" : undefined} aria-current={at === step ? "step" : undefined}>
            {name}
          </li>
        ))}
      </ol>
      {step === 0 && <AccountForm setup={address.value.query.get("token") ?? ""} onDone={() => setStep(1)} />}
      {step === 1 && <ModelChoice onDone={() => setStep(2)} />}
      {step === 2 && (
        <div class="buttons wide">
          <Button kind="primary" onClick={() => go("", { replace: true })}>
            {t.value.startChatting}
          </Button>
          <Button onClick={() => go("console", { replace: true })}>{t.value.openConsole}</Button>
        </div>
      )}
    </Plain>
  );
}

interface ModelRow {
  name: string;
  title: string;
  source: string | null;
  alias_of: string | null;
  state: string;
}

interface ServerRow {
  name: string;
  state: string;
}

function ModelChoice({ onDone }: { onDone: () => void }) {
  const [models, setModels] = useState<ModelRow[] | null>(null);
  const [servers, setServers] = useState<ServerRow[]>([]);
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    Promise.all([api.get<ModelRow[]>("api/console/platform/models"), api.get<ServerRow[]>("api/console/platform/servers")]).then(
      ([rows, running]) => {
        setModels(rows.filter((row) => row.state === "active"));
        setServers(running);
      },
      (error: unknown) => setFailure(failureOf(error)),
    );
  }, []);
  const chosen = models?.find(({ name }) => name === preferences.value.model)?.name ?? models?.[0]?.name;
  return (
    <div class="form">
      <FailureNote failure={failure} />
      {models?.length === 0 && <EmptyState title={t.value.noModels} hint={t.value.noModelsHint} icon="box" />}
      {models && models.length > 0 && (
        <ul class="picks" role="radiogroup" aria-label={t.value.chooseModel}>
          {models.map((model) => (
            <li key={model.name}>
              <label>
                <input type="radio" name="model" checked={model.name === chosen} onChange={() => prefer({ model: model.name })} />
                <span>
                  <strong>{model.title || model.name}</strong>
                  <small>{standing(model, servers)}</small>
                </span>
              </label>
            </li>
          ))}
        </ul>
      )}
      <Button
        kind="primary"
        onClick={() => {
          if (chosen) prefer({ model: chosen });
          onDone();
        }}
      >
        {t.value.goOn}
      </Button>
    </div>
  );
}

function standing(model: ModelRow, servers: ServerRow[]): string {
  if (!model.source && !model.alias_of) return t.value.modelRemote;
  const server = servers.find(({ name }) => name === model.name);
  if (!server) return t.value.modelHere;
  return `${t.value.modelHere} · ${server.state === "ready" ? t.value.modelReady : t.value.modelStarting}`;
}
