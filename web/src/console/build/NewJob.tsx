import { useState } from "preact/hooks";
import { go } from "../../app/router";
import { Select, TextField } from "../../ui/Field";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { useProjects } from "../parts/names";
import { useLoad } from "../parts/useLoad";
import { filesOf } from "./files";
import { offersOf } from "./Offers";
import { callJson, longKey } from "./workKey";
import { t } from "./words";

const MONTH_MS = 30 * 86_400_000; // a training that outlives its key pauses

export function NewJob({ org, close }: { org: string; close: () => void }) {
  const projects = useProjects(org).data?.filter((one) => !one.is_archived) ?? [];
  const [chosen, setProject] = useState("");
  const project = chosen || (projects[0]?.id ?? "");
  const offers = useLoad(() => offersOf(org), [org]);
  const [model, setModel] = useState("");
  const [file, setFile] = useState("");
  const [checked, setChecked] = useState("");
  const [suffix, setSuffix] = useState("");
  const [epochs, setEpochs] = useState("");
  const [size, setSize] = useState("");
  const files = useLoad(async () => (project ? (await filesOf({ org, project }, { purpose: "fine-tune" })).data : []), [org, project]);
  const bases = (offers.data ?? []).filter(({ name }) => !name.startsWith("ft:"));
  const send = async () => {
    const hyperparameters = { ...(epochs && { n_epochs: Number(epochs) }), ...(size && { batch_size: Number(size) }) };
    const body = {
      model: model || bases[0]?.name,
      training_file: file || files.data?.[0]?.id,
      ...(checked && { validation_file: checked }),
      ...(suffix && { suffix }),
      method: { type: "supervised", supervised: { hyperparameters } },
    };
    const key = await longKey(org, project, Date.now() + MONTH_MS);
    const job = await callJson<{ id: string }>("v1/fine_tuning/jobs", { org, project, method: "POST", body, key });
    go(`console/fine-tuning/${job.id}`);
  };
  const options = (data: { id: string; filename: string }[]) => data.map(({ id, filename }) => [id, filename] as const);
  return (
    <FormDialog title={t.value.newJob} action={t.value.startJob} send={send} onClose={close}>
      <Select label={t.value.project} value={project} options={projects.map((one) => [one.id, one.name])} onChange={setProject} />
      <Select label={t.value.baseModel} hint={t.value.baseModelHint} value={model || (bases[0]?.name ?? "")} options={bases.map(({ name }) => [name, name])} onChange={setModel} />
      <Loaded load={files}>
        {(data) =>
          data.length === 0 ? (
            <p class="hint">{t.value.noTuneFiles}</p>
          ) : (
            <>
              <Select label={t.value.trainingFile} value={file || (data[0]?.id ?? "")} options={options(data)} onChange={setFile} />
              <Select label={t.value.validationFile} value={checked} options={[["", t.value.noFile], ...options(data)]} onChange={setChecked} />
            </>
          )
        }
      </Loaded>
      <TextField label={t.value.suffix} value={suffix} onInput={setSuffix} hint={t.value.suffixHint} maxLength={40} />
      <TextField label={t.value.epochs} type="number" min={1} value={epochs} onInput={setEpochs} hint={t.value.auto} />
      <TextField label={t.value.batchSize} type="number" min={1} value={size} onInput={setSize} hint={t.value.auto} />
    </FormDialog>
  );
}
