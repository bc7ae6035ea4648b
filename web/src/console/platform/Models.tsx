import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { formatBytes } from "../../ui/format";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { Intro, Section } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { Catalogue } from "./Catalogue";
import { ModelForm } from "./ModelForm";
import { type Model, modelPath, PLATFORM, type Server } from "./models";
import { t } from "./words";

const EVERY_MS = 2000;

export default function Models(_: PageProps) {
  const models = useLoad(() => api.get<Model[]>(`${PLATFORM}/models`), []);
  const servers = useLoad(() => api.get<Server[]>(`${PLATFORM}/servers`), [], EVERY_MS);
  const changed = () => {
    void models.again();
    void servers.again();
  };
  const open = (known: Model | null) => showDialog((close) => <ModelForm known={known} close={close} onDone={changed} />);
  return (
    <>
      <Intro hint={t.value.modelsHint}>
        <Button icon="plus" onClick={() => open(null)}>
          {t.value.newModel}
        </Button>
      </Intro>
      <Section title={t.value.servers}>
        <Loaded load={servers}>{(rows) => <Servers servers={rows} models={models.data ?? []} />}</Loaded>
      </Section>
      <Section title={t.value.rows}>
        <Loaded load={models}>{(rows) => <ModelTable models={rows} open={open} onChange={changed} />}</Loaded>
      </Section>
      <Catalogue models={models.data ?? []} onServe={changed} />
    </>
  );
}

function Servers({ servers, models }: { servers: Server[]; models: Model[] }) {
  if (servers.length === 0) return <EmptyState title={t.value.noServers} hint={t.value.noServersHint} icon="server" />;
  return (
    <ul class="cards">
      {servers.map((server) => {
        const memory = models.find(({ name }) => name === server.name)?.memory_bytes;
        return (
          <li key={server.name} class="card">
            <strong>{server.name}</strong>
            <Pill tone={server.state === "ready" ? "good" : server.state === "stopped" ? "calm" : "busy"}>
              {t.value.serverStates[server.state] ?? server.state}
            </Pill>
            <span class="faint">
              {[memory && t.value.memoryTaken(formatBytes(memory)), server.restarts > 0 && t.value.restarts(server.restarts)].filter(Boolean).join(" · ")}
            </span>
            {server.said.length > 0 && (
              <details>
                <summary>{server.state === "ready" ? t.value.lastLines : server.said.at(-1)}</summary>
                <pre class="lines">{server.said.join("\n")}</pre>
              </details>
            )}
          </li>
        );
      })}
    </ul>
  );
}

function ModelTable({ models, open, onChange }: { models: Model[]; open: (model: Model) => void; onChange: () => void }) {
  const remove = async (model: Model) => {
    const sure = await confirmed({ title: `${t.value.removeModel}: ${model.name}`, text: t.value.removeModelText, action: t.value.removeModel, danger: true });
    if (sure && (await deed(() => api.delete(modelPath(model.name))))) onChange();
  };
  return (
    <Table
      label={t.value.rows}
      columns={[
        {
          id: "name",
          title: t.value.model,
          cell: (model: Model) => (
            <>
              <strong>{model.title || model.name}</strong>
              {model.title && <small class="mono">{model.name}</small>}
            </>
          ),
          value: (model) => model.name,
        },
        { id: "by", title: t.value.answeredBy, cell: answeredBy },
        { id: "load", title: t.value.loading, cell: (model) => (model.source ? (t.value.loads[model.load] ?? model.load) : "—"), wide: true },
        { id: "owner", title: t.value.owner, cell: (model) => (model.owner_org ? <span class="mono">{model.owner_org}</span> : t.value.everybody), wide: true },
        {
          id: "tools",
          title: "",
          cell: (model) => (
            <span class="row-tools">
              {!model.base && <IconButton icon="edit" label={`${t.value.changeModel}: ${model.name}`} onClick={() => open(model)} />}
              <IconButton icon="trash" label={`${t.value.removeModel}: ${model.name}`} onClick={() => void remove(model)} />
            </span>
          ),
        },
      ]}
      rows={models}
      keyOf={(model) => model.name}
      empty={<EmptyState title={t.value.noModels} hint={t.value.noModelsHint} icon="box" />}
    />
  );
}

function answeredBy(model: Model): string {
  if (model.alias_of) return t.value.aliasOf(model.alias_of);
  if (model.base) return t.value.aServer(model.base);
  return model.source ? t.value.aServer(model.source) : t.value.channelsAlone;
}
