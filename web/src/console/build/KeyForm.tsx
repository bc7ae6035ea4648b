import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { may } from "../../app/session";
import { Select, TextField, Toggle } from "../../ui/Field";
import { AMOUNT_PATTERN } from "../parts/amount";
import { FormDialog } from "../parts/FormDialog";
import { wordsIn } from "../parts/lines";
import { type Key, orgPath, useProjects } from "../parts/names";
import { SecretDialog } from "../parts/Secret";
import { t } from "./words";

interface FormProps {
  org: string;
  /** The key to change; null: a new one. */
  known: Key | null;
  close: () => void;
  onDone: () => void;
}

export function KeyForm({ org, known, close, onDone }: FormProps) {
  const projects = useProjects(org).data?.filter((one) => !one.is_archived) ?? [];
  const [name, setName] = useState(known?.name ?? "");
  const [project, setProject] = useState("");
  const [models, setModels] = useState(known?.models.join(" ") ?? "");
  const [endpoints, setEndpoints] = useState(known?.endpoints ?? []);
  const [addresses, setAddresses] = useState(known?.cidrs.join(" ") ?? "");
  const [ends, setEnds] = useState(known?.expires_at ? new Date(known.expires_at).toISOString().slice(0, 10) : "");
  const [personal, setPersonal] = useState(true);
  const [budget, setBudget] = useState("");
  const [period, setPeriod] = useState("month");
  const send = async () => {
    const scope = {
      name,
      models: wordsIn(models),
      endpoints,
      cidrs: wordsIn(addresses),
      expires_at: ends ? Date.parse(`${ends}T23:59:59Z`) : null,
    };
    if (known) {
      await api.put(`${orgPath(org)}/keys/${known.id}`, scope);
    } else {
      const made = await api.post<{ key: string }>(`${orgPath(org)}/keys`, {
        ...scope,
        project_id: project || projects[0]?.id,
        personal,
        ...(budget && { budget, budget_period: period }),
      });
      showDialog((end) => <SecretDialog title={t.value.keyMade} hint={t.value.keyMadeHint} secret={made.key} onClose={end} />);
    }
    onDone();
  };
  return (
    <FormDialog title={known ? t.value.changeKey : t.value.newKey} action={known ? t.value.changeKey : t.value.createKey} send={send} onClose={close} wide>
      <TextField label={t.value.name} value={name} onInput={setName} hint={t.value.nameHint} required autofocus />
      {!known && <Select label={t.value.project} value={project || (projects[0]?.id ?? "")} options={projects.map((one) => [one.id, one.name])} onChange={setProject} />}
      {!known && may("keys.write") && <Toggle label={t.value.personal} hint={t.value.personalHint} checked={personal} onChange={setPersonal} />}
      <TextField label={t.value.models} value={models} onInput={setModels} hint={t.value.modelsHint} placeholder="glm-4.5* embedding-3" />
      <Endpoints chosen={endpoints} onChange={setEndpoints} />
      <TextField label={t.value.addresses} value={addresses} onInput={setAddresses} hint={t.value.addressesHint} />
      <TextField label={t.value.expiresOn} type="date" value={ends} onInput={setEnds} hint={t.value.expiresHint} />
      {!known && <TextField label={t.value.budget} value={budget} onInput={setBudget} hint={t.value.budgetHint} pattern={AMOUNT_PATTERN} />}
      {!known && budget && <Select label={t.value.budgetEach} value={period} options={Object.entries(t.value.periods)} onChange={setPeriod} />}
    </FormDialog>
  );
}

function Endpoints({ chosen, onChange }: { chosen: string[]; onChange: (chosen: string[]) => void }) {
  const turn = (word: string, on: boolean) => onChange(on ? [...chosen, word] : chosen.filter((each) => each !== word));
  return (
    <fieldset class="field">
      <legend>{t.value.endpoints}</legend>
      <div class="checks">
        {Object.entries(t.value.endpointNames).map(([word, label]) => (
          <label key={word}>
            <input type="checkbox" checked={chosen.includes(word)} onChange={(event) => turn(word, event.currentTarget.checked)} />
            {label}
          </label>
        ))}
      </div>
      <p class="hint">{t.value.endpointsHint}</p>
    </fieldset>
  );
}
