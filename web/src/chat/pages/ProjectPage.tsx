import { useEffect, useState } from "preact/hooks";
import { api, ApiError } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { go } from "../../app/router";
import { useSend } from "../../app/useSend";
import { Button, IconButton } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextArea, TextField } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { notify } from "../../ui/notice";
import { chooseFiles } from "../../ui/saveFile";
import { Item } from "../ChatSidebar";
import { KnowledgeChoice } from "../KnowledgeChoice";
import { upload } from "../composer/uploads";
import { tell } from "../list";
import type { Row } from "../model";
import { loadProjects, type Project } from "../projects";
import { backend } from "../service";
import { at } from "../server/backend";
import { seed } from "../thread";
import { t } from "../words";
import { Page, useLoaded } from "./Page";

export function ProjectPage({ id }: { id: string }) {
  const { value, failure, load } = useLoaded(async () => (await api.get<Project[]>(at("projects"))).find((each) => each.id === id) ?? missing());
  const listed = useLoaded(async () => (await backend.value!.list({ project: id })).items);
  const begin = () => {
    seed.value = { project_id: id };
    go("");
  };
  const remove = async () => {
    const question = { title: t.value.projectRemove, text: t.value.projectRemoveText, action: t.value.remove, danger: true };
    if (!(await confirmed(question))) return;
    await api.delete(at(`projects/${id}`)).then(async () => {
      await loadProjects();
      go("projects", { replace: true });
    }, tell);
  };
  return (
    <Page title={value?.name ?? t.value.projects} failure={failure}>
      {value && (
        <>
          <div class="buttons">
            <Button kind="primary" icon="pen" onClick={begin}>
              {t.value.newConversation}
            </Button>
            <span class="grow" />
            <Button icon="trash" onClick={() => void remove()}>
              {t.value.remove}
            </Button>
          </div>
          <Conversations rows={listed.value} />
          <Details key={value.id} project={value} changed={load} />
          <Knowledge key={`${value.id} knowledge`} project={value} />
          <Files project={value} changed={load} />
        </>
      )}
    </Page>
  );
}

const missing = (): never => {
  throw new ApiError(404, t.value.projectGone);
};

function Conversations({ rows }: { rows: readonly Row[] | null }) {
  if (rows === null) return null;
  if (rows.length === 0) return <p class="hint">{t.value.projectEmpty}</p>;
  return (
    <ul class="page-rows">
      {rows.map((row) => (
        <Item key={row.id} row={row} />
      ))}
    </ul>
  );
}

function Details({ project, changed }: { project: Project; changed: () => Promise<void> }) {
  const [name, setName] = useState(project.name);
  const [instructions, setInstructions] = useState(project.instructions);
  const { busy, failure, send } = useSend(async () => {
    await api.patch(at(`projects/${project.id}`), { name: name.trim(), instructions });
    await Promise.all([changed(), loadProjects()]);
    notify(t.value.saved);
  });
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <FailureNote failure={failure} />
      <TextField label={t.value.name} required maxLength={100} value={name} onInput={setName} />
      <TextArea label={t.value.instructions} hint={t.value.projectInstructionsHint} value={instructions} onInput={setInstructions} />
      <div class="buttons">
        <Button type="submit" kind="primary" busy={busy}>
          {t.value.save}
        </Button>
      </div>
    </form>
  );
}

/** Holds at once, as files do. */
function Knowledge({ project }: { project: Project }) {
  const [chosen, choose] = useState(project.knowledge);
  const put = (knowledge: string[]) => {
    choose(knowledge);
    api.patch(at(`projects/${project.id}`), { knowledge }).catch((error: unknown) => {
      choose(chosen);
      tell(error);
    });
  };
  return <KnowledgeChoice hint={t.value.projectKnowledgeHint} chosen={chosen} onChange={put} />;
}

/** Why models read nothing of a file. */
function unread(file: Stored | undefined): string | null {
  if (file?.media_type.startsWith("image/")) return t.value.projectPicture;
  return file?.state === "failed" ? t.value.attachUnread : null;
}

interface Stored {
  name: string;
  media_type: string;
  state: "reading" | "ready" | "failed";
}

function Files({ project, changed }: { project: Project; changed: () => Promise<void> }) {
  const ids = project.files;
  const [known, setKnown] = useState<Record<string, Stored>>({});
  useEffect(() => {
    for (const id of ids) {
      api.get<Stored>(at(`attachments/${id}`)).then((file) => setKnown((others) => ({ ...others, [id]: file })), tell);
    }
  }, [ids.join()]);
  const put = (files: string[]) => api.patch(at(`projects/${project.id}`), { files }).then(changed, tell);
  const { busy, failure, send } = useSend(async () => {
    const chosen = await chooseFiles({ multiple: true });
    const stored = await Promise.all(chosen.map(upload));
    if (stored.length > 0) await put([...ids, ...stored.map(({ id }) => id)]);
  });
  return (
    <section>
      <div class="page-head">
        <h2>{t.value.files}</h2>
        <Button icon="clip" busy={busy} onClick={() => void send()}>
          {t.value.addFiles}
        </Button>
      </div>
      <FailureNote failure={failure} />
      <ul class="plain-list">
        {ids.map((id) => (
          <li key={id}>
            <Icon name="file" />
            <span class="plain-title">{known[id]?.name}</span>
            <small class="hint error">{unread(known[id])}</small>
            <IconButton icon="close" label={t.value.detach(known[id]?.name ?? "")} onClick={() => void put(ids.filter((each) => each !== id))} />
          </li>
        ))}
      </ul>
    </section>
  );
}
