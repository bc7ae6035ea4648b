import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { Choice, TextArea, TextField, Toggle } from "../../ui/Field";
import { FormDialog } from "../parts/FormDialog";
import { type Channel, channelPath, readModels, writeModels } from "./channels";
import { t } from "./words";

export function ChannelForm({ known, close, onDone }: { known: Channel | null; close: () => void; onDone: () => void }) {
  const [id, setId] = useState(known?.id ?? "");
  const [url, setUrl] = useState(known?.base_url ?? "");
  const [models, setModels] = useState(known ? writeModels(known.models) : "");
  const [key, setKey] = useState("");
  const [weight, setWeight] = useState(String(known?.weight ?? 1));
  const [priority, setPriority] = useState(String(known?.priority ?? 0));
  const [most, setMost] = useState(known?.max_in_flight ? String(known.max_in_flight) : "");
  const [leaving, setLeaving] = useState(known?.leaving ?? "abort");
  const [extensions, setExtensions] = useState(known?.extensions ?? true);
  const send = async () => {
    await api.put(channelPath(id), {
      base_url: url,
      models: readModels(models),
      api_key: key || null,
      weight: Number(weight),
      priority: Number(priority),
      max_in_flight: most ? Number(most) : null,
      leaving,
      extensions,
      ...(known && { state: known.state, drain_tokens: known.drain_tokens }),
    });
    onDone();
  };
  return (
    <FormDialog title={known ? t.value.changeChannel : t.value.newChannel} action={t.value.saveChannel} send={send} onClose={close}>
      <TextField label={t.value.id} value={id} onInput={setId} hint={t.value.idHint} readOnly={known !== null} required autofocus={known === null} />
      <TextField label={t.value.baseUrl} value={url} onInput={setUrl} hint={t.value.baseUrlHint} placeholder="http://127.0.0.1:8000" required />
      <TextField label={t.value.apiKey} type="password" value={key} onInput={setKey} autoComplete="off" {...(known?.has_key && { hint: t.value.apiKeyKept })} />
      <TextArea label={t.value.channelModels} value={models} onInput={setModels} hint={t.value.channelModelsHint} rows={3} required />
      <TextField label={t.value.weight} type="number" min={1} value={weight} onInput={setWeight} />
      <TextField label={t.value.priority} type="number" value={priority} onInput={setPriority} hint={t.value.priorityHint} />
      <TextField label={t.value.maxInFlight} type="number" min={1} value={most} onInput={setMost} hint={t.value.noBound} />
      <Choice label={t.value.leaving} value={leaving} options={Object.entries(t.value.leavings)} onChange={setLeaving} />
      <Toggle label={t.value.extensions} hint={t.value.extensionsHint} checked={extensions} onChange={setExtensions} />
    </FormDialog>
  );
}
