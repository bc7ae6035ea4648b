import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { confirmed, showDialog } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select } from "../../ui/Field";
import { formatNumber } from "../../ui/format";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Intro } from "../parts/Page";
import { Pill, type Tone } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { downloadFile, filesOf, type Place } from "./files";
import { ProjectChoice } from "./ProjectChoice";
import { callJson, longKey } from "./workKey";
import { t } from "./words";

interface Batch {
  id: string;
  endpoint: string;
  status: string;
  errors: { data: { message: string; line: number | null }[] | null } | null;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number; // seconds
  request_counts: { total: number; completed: number; failed: number };
}

const RUNNING = ["validating", "in_progress", "finalizing", "cancelling"];
const EVERY_MS = 3000;
const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"];
const DAY_MS = 86_400_000;

export default function Batches({ org }: PageProps) {
  return (
    <>
      <Intro hint={t.value.batchesHint} />
      <ProjectChoice org={org}>
        {(project, choice) => <OfProject key={project} place={{ org, project }} choice={choice} />}
      </ProjectChoice>
    </>
  );
}

function OfProject({ place, choice }: { place: Place; choice: ComponentChildren }) {
  const [live, setLive] = useState(true);
  const load = useLoad(
    async () => {
      const { data } = await callJson<{ data: Batch[] }>("v1/batches?limit=100", place);
      setLive(data.some(({ status }) => RUNNING.includes(status)));
      return data;
    },
    [place.project],
    live ? EVERY_MS : null,
  );
  const again = () => void load.again();
  const add = () => showDialog((close) => <NewBatch place={place} close={close} onDone={again} />);
  return (
    <>
      <div class="controls">
        {choice}
        <Button kind="primary" icon="plus" onClick={add}>
          {t.value.newBatch}
        </Button>
      </div>
      <Loaded load={load}>{(batches) => <BatchTable place={place} batches={batches} onChange={again} />}</Loaded>
    </>
  );
}

function toneOf(status: string): Tone {
  if (RUNNING.includes(status)) return "busy";
  return status === "completed" ? "good" : status === "cancelled" ? "calm" : "bad";
}

function BatchTable({ place, batches, onChange }: { place: Place; batches: Batch[]; onChange: () => void }) {
  const cancel = async (batch: Batch) => {
    const sure = await confirmed({ title: `${t.value.cancel}: ${batch.id}`, text: t.value.cancelBatchText, action: t.value.cancel, danger: true });
    if (sure && (await deed(() => callJson(`v1/batches/${batch.id}/cancel`, { ...place, method: "POST" })))) onChange();
  };
  const file = (id: string | null, label: string, name: string) =>
    id && (
      <Button icon="download" onClick={() => void deed(() => downloadFile(place, { id, filename: name }))}>
        {label}
      </Button>
    );
  return (
    <Table
      label={t.value.batchesHint}
      columns={[
        {
          id: "id",
          title: t.value.endpoint,
          cell: (batch: Batch) => (
            <>
              <strong class="mono">{batch.endpoint}</strong>
              <small class="mono">{batch.id}</small>
            </>
          ),
        },
        { id: "created", title: t.value.created, cell: (batch) => <Time at={batch.created_at * 1000} />, value: (batch) => batch.created_at },
        {
          id: "state",
          title: t.value.state,
          cell: (batch) => (
            <>
              <Pill tone={toneOf(batch.status)}>{t.value.batchStates[batch.status] ?? batch.status}</Pill>
              {batch.errors?.data?.[0] && <small>{batch.errors.data[0].message}</small>}
            </>
          ),
        },
        { id: "progress", title: t.value.progress, cell: ({ request_counts: count }) => t.value.doneOf(formatNumber(count.completed), formatNumber(count.total), count.failed) },
        {
          id: "tools",
          title: "",
          cell: (batch) => (
            <span class="row-tools">
              {file(batch.output_file_id, t.value.result, `${batch.id}.jsonl`)}
              {file(batch.error_file_id, t.value.errors, `${batch.id}-errors.jsonl`)}
              {RUNNING.includes(batch.status) && <IconButton icon="stop" label={`${t.value.cancel}: ${batch.id}`} onClick={() => void cancel(batch)} />}
            </span>
          ),
        },
      ]}
      rows={batches}
      keyOf={(batch) => batch.id}
      empty={<EmptyState title={t.value.noBatches} hint={t.value.noBatchesHint} icon="list" />}
    />
  );
}

function NewBatch({ place, close, onDone }: { place: Place; close: () => void; onDone: () => void }) {
  const files = useLoad(() => filesOf(place, { purpose: "batch" }), [place.project]);
  const [file, setFile] = useState("");
  const [endpoint, setEndpoint] = useState(ENDPOINTS[0] ?? "");
  const known = files.data?.data ?? [];
  const send = async () => {
    const body = { input_file_id: file || known[0]?.id, endpoint, completion_window: "24h" };
    // its rows run in the name of its key, which must outlive them
    const key = await longKey(place.org, place.project, Date.now() + 2 * DAY_MS);
    await callJson("v1/batches", { ...place, method: "POST", body, key });
    onDone();
  };
  return (
    <FormDialog title={t.value.newBatch} action={t.value.startBatch} send={send} onClose={close}>
      <Loaded load={files}>
        {({ data }) =>
          data.length === 0 ? (
            <p>{t.value.noBatchFiles}</p>
          ) : (
            <>
              <Select label={t.value.inputFile} value={file || (data[0]?.id ?? "")} options={data.map(({ id, filename }) => [id, filename])} onChange={setFile} />
              <Select label={t.value.endpoint} value={endpoint} options={ENDPOINTS.map((each) => [each, each])} onChange={setEndpoint} />
            </>
          )
        }
      </Loaded>
    </FormDialog>
  );
}
