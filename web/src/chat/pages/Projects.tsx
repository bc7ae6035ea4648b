import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { go } from "../../app/router";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { Link } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { loadProjects, type Project, projects } from "../projects";
import { at } from "../server/backend";
import { t } from "../words";
import { Page, useLoaded } from "./Page";

export function Projects() {
  const { failure, value } = useLoaded(() => api.get<Project[]>(at("projects")));
  const action = (
    <Button kind="primary" icon="plus" onClick={() => showDialog((close) => <NewProject close={close} />)}>
      {t.value.newProject}
    </Button>
  );
  return (
    <Page title={t.value.projects} hint={t.value.projectsHint} action={action} failure={failure}>
      {value?.length === 0 && <EmptyState title={t.value.projects} hint={t.value.projectsHint} icon="folder" />}
      <ul class="cards">
        {value?.map(({ id, name, instructions }) => (
          <li key={id}>
            <Link to={`projects/${id}`} class="card">
              <Icon name="folder" />
              <strong>{name}</strong>
              <p>{instructions}</p>
            </Link>
          </li>
        ))}
      </ul>
    </Page>
  );
}

function NewProject({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const { busy, failure, send } = useSend(async () => {
    const made = await api.post<Project>(at("projects"), { name: name.trim() });
    projects.value = [...projects.value, made];
    void loadProjects();
    close();
    go(`projects/${made.id}`);
  });
  const footer = (
    <>
      <span class="grow" />
      <Button type="submit" kind="primary" busy={busy}>
        {t.value.create}
      </Button>
    </>
  );
  return (
    <Dialog title={t.value.newProject} footer={footer} onClose={close} onSubmit={() => void send()}>
      <FailureNote failure={failure} />
      <TextField label={t.value.name} required autofocus maxLength={100} value={name} onInput={setName} />
    </Dialog>
  );
}
