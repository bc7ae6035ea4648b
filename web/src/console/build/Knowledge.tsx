import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { showDialog } from "../../app/dialogs";
import { go } from "../../app/router";
import { Button, Link } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select, TextArea, TextField } from "../../ui/Field";
import { formatCompact } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import type { PageProps } from "../pages";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Intro } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { BasePage } from "./Base";
import type { Place } from "./files";
import { BASES, type Base, EMBEDDINGS } from "./knowledge";
import { ProjectChoice } from "./ProjectChoice";
import { callEnveloped } from "./workKey";
import { t } from "./words";

export default function Knowledge({ org, id }: PageProps) {
  return (
    <>
      {id === null && <Intro hint={t.value.basesHint} />}
      <ProjectChoice org={org}>
        {(project, choice) =>
          id === null ? (
            <Bases key={project} place={{ org, project }} choice={choice} />
          ) : (
            <BasePage place={{ org, project }} id={id} />
          )
        }
      </ProjectChoice>
    </>
  );
}

function Bases({ place, choice }: { place: Place; choice: ComponentChildren }) {
  const load = useLoad(() => callEnveloped<{ list: Base[] }>(`${BASES}?size=100`, place), [place.project]);
  const add = () => showDialog((close) => <NewBase place={place} close={close} />);
  return (
    <>
      <div class="controls">
        {choice}
        <Button kind="primary" icon="plus" onClick={add}>
          {t.value.newBase}
        </Button>
      </div>
      <Loaded load={load}>
        {({ list }) =>
          list.length === 0 ? (
            <EmptyState title={t.value.noBases} hint={t.value.noBasesHint} icon="book" />
          ) : (
            <ul class="cards">
              {list.map((base) => (
                <li key={base.id}>
                  <Link to={`console/knowledge/${base.id}`} class="card">
                    <Icon name="book" />
                    <strong>{base.name}</strong>
                    {base.description && <span class="hint">{base.description}</span>}
                    <span class="faint">
                      {t.value.documentCount(base.document_size)} · {t.value.words(formatCompact(base.word_num))}
                    </span>
                  </Link>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </>
  );
}

function NewBase({ place, close }: { place: Place; close: () => void }) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [embedding, setEmbedding] = useState("11");
  const send = async () => {
    const body = { name, embedding_id: Number(embedding), ...(description && { description }) };
    const { id } = await callEnveloped<{ id: string }>(BASES, { ...place, method: "POST", body });
    go(`console/knowledge/${id}`);
  };
  return (
    <FormDialog title={t.value.newBase} action={t.value.createBase} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} maxLength={100} required autofocus />
      <TextArea label={t.value.description} value={description} onInput={setDescription} maxLength={500} rows={3} />
      <Select label={t.value.embedding} value={embedding} options={EMBEDDINGS} onChange={setEmbedding} />
    </FormDialog>
  );
}
