import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { may } from "../../app/session";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { TextField } from "../../ui/Field";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { orgPath, type Project, useProjects } from "../parts/names";
import { Intro } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { t } from "./words";

export default function Projects({ org }: PageProps) {
  const load = useProjects(org);
  const again = () => void load.again();
  const open = (known: Project | null) => showDialog((close) => <ProjectForm org={org} known={known} close={close} onDone={again} />);
  const archive = async (project: Project) => {
    const sure = await confirmed({ title: t.value.archiveTitle(project.name), text: t.value.archiveText, action: t.value.archive, danger: true });
    if (sure && (await deed(() => api.delete(`${orgPath(org)}/projects/${project.id}`)))) again();
  };
  return (
    <>
      <Intro hint={t.value.projectsHint}>
        {may("projects.write") && (
          <Button kind="primary" icon="plus" onClick={() => open(null)}>
            {t.value.newProject}
          </Button>
        )}
      </Intro>
      <Loaded load={load}>
        {(projects) => (
          <Table
            label={t.value.projectsHint}
            columns={[
              {
                id: "name",
                title: t.value.name,
                cell: (project: Project) => (
                  <>
                    <strong>{project.name}</strong>
                    <small class="mono">{project.id}</small>
                  </>
                ),
                value: (project) => project.name,
              },
              {
                id: "state",
                title: t.value.state,
                cell: (project) => <Pill tone={project.is_archived ? "calm" : "good"}>{project.is_archived ? t.value.archived : t.value.active}</Pill>,
              },
              { id: "keeps", title: t.value.keeps, cell: (project) => (project.body_days ? t.value.keepsDays(project.body_days) : t.value.keepsNothing) },
              { id: "created", title: t.value.created, cell: (project) => <Time at={project.created_at} />, value: (project) => project.created_at },
              {
                id: "tools",
                title: "",
                cell: (project) =>
                  may("projects.write") && !project.is_archived ? (
                    <span class="row-tools">
                      <IconButton icon="edit" label={`${t.value.renameProject}: ${project.name}`} onClick={() => open(project)} />
                      <IconButton icon="archive" label={`${t.value.archive}: ${project.name}`} onClick={() => void archive(project)} />
                    </span>
                  ) : null,
              },
            ]}
            rows={projects}
            keyOf={(project) => project.id}
            empty={<EmptyState title={t.value.noProjects} icon="folder" />}
          />
        )}
      </Loaded>
    </>
  );
}

function ProjectForm({ org, known, close, onDone }: { org: string; known: Project | null; close: () => void; onDone: () => void }) {
  const [name, setName] = useState(known?.name ?? "");
  const [days, setDays] = useState(String(known?.body_days ?? 0));
  const send = async () => {
    const { id } = known ?? (await api.post<Project>(`${orgPath(org)}/projects`, { name }));
    const change = { ...(known && known.name !== name && { name }), ...(Number(days) !== (known?.body_days ?? 0) && { body_days: Number(days) }) };
    if (Object.keys(change).length) await api.patch(`${orgPath(org)}/projects/${id}`, change);
    onDone();
  };
  return (
    <FormDialog title={known ? t.value.renameProject : t.value.newProject} action={known ? t.value.save : t.value.createProject} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} required autofocus />
      <TextField label={t.value.bodyDays} type="number" min={0} max={90} value={days} onInput={setDays} hint={t.value.bodyDaysHint} />
    </FormDialog>
  );
}
