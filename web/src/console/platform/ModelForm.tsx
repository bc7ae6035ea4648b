import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { Choice, TextField } from "../../ui/Field";
import { FormDialog } from "../parts/FormDialog";
import { type Model, modelPath } from "./models";
import { t } from "./words";

/** A new model, or another way to serve one that is there. */
export function ModelForm({ known, close, onDone }: { known: Model | null; close: () => void; onDone: () => void }) {
  const [name, setName] = useState(known?.name ?? "");
  const [title, setTitle] = useState(known?.title ?? "");
  const [source, setSource] = useState(known?.source ?? "");
  const [alias, setAlias] = useState(known?.alias_of ?? "");
  const [flags, setFlags] = useState(known?.flags.join(" ") ?? "");
  const [load, setLoad] = useState<string>(known?.load ?? "always");
  const [idle, setIdle] = useState(String(known?.idle_s ?? 600));
  const [owner, setOwner] = useState(known?.owner_org ?? "");
  const send = async () => {
    await api.put(modelPath(name), {
      title,
      source: source || null,
      alias_of: alias || null,
      flags: flags.split(/\s+/).filter(Boolean),
      load,
      idle_s: Number(idle),
      owner_org: owner || null,
    });
    onDone();
  };
  return (
    <FormDialog title={known ? t.value.changeModel : t.value.newModel} action={t.value.saveModel} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} hint={t.value.nameHint} readOnly={known !== null} required autofocus={known === null} />
      <TextField label={t.value.titleField} value={title} onInput={setTitle} />
      <TextField label={t.value.source} value={source} onInput={setSource} hint={t.value.sourceHint} />
      {!source && <TextField label={t.value.alias} value={alias} onInput={setAlias} hint={t.value.aliasHint} />}
      {source && <TextField label={t.value.flags} value={flags} onInput={setFlags} hint={t.value.flagsHint} />}
      {source && <Choice label={t.value.loading} value={load} options={Object.entries(t.value.loads)} onChange={setLoad} />}
      {source && load === "on_demand" && <TextField label={t.value.idle} type="number" min={0} value={idle} onInput={setIdle} />}
      <TextField label={t.value.ownerField} value={owner} onInput={setOwner} hint={t.value.ownerHint} />
    </FormDialog>
  );
}
