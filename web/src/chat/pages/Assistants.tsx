import { Avatar } from "../../app/AccountBar";
import { api } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { go } from "../../app/router";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { chooseFiles, saveFile } from "../../ui/saveFile";
import { tell } from "../list";
import { at } from "../server/backend";
import { seed } from "../thread";
import { t } from "../words";
import { type Assistant, loadAssistants } from "./assistant";
import { Page, useLoaded } from "./Page";

export function Assistants() {
  const { value, failure, load } = useLoaded(loadAssistants);
  const bring = useSend(async () => {
    const [file] = await chooseFiles({ accept: "application/json,.json" });
    if (!file) return;
    await api.post(at("assistants/import"), JSON.parse(await file.text()));
    await load();
  });
  const action = (
    <span class="buttons">
      <Button icon="upload" busy={bring.busy} onClick={() => void bring.send()}>
        {t.value.importAssistant}
      </Button>
      <Button kind="primary" icon="plus" onClick={() => go("assistants/new")}>
        {t.value.newAssistant}
      </Button>
    </span>
  );
  const groups = [
    { name: t.value.mine, items: value?.filter(({ mine }) => mine !== false) ?? [] },
    { name: t.value.shared, items: value?.filter(({ mine, visibility }) => mine === false && visibility === "organisation") ?? [] },
    { name: t.value.listed, items: value?.filter(({ mine, visibility }) => mine === false && visibility === "listed") ?? [] },
  ].filter(({ items }) => items.length > 0);
  return (
    <Page title={t.value.assistants} hint={t.value.assistantsHint} action={action} failure={failure}>
      <FailureNote failure={bring.failure} />
      {value?.length === 0 && <EmptyState title={t.value.assistants} hint={t.value.assistantsHint} icon="sparkles" />}
      {groups.map(({ name, items }) => (
        <section key={name}>
          <h2 class="group">{name}</h2>
          <ul class="cards">
            {items.map((assistant) => (
              <Card key={assistant.id} assistant={assistant} changed={load} />
            ))}
          </ul>
        </section>
      ))}
    </Page>
  );
}

async function takeOut({ id, name }: Assistant): Promise<void> {
  try {
    const file = await api.get<object>(at(`assistants/${id}/export`));
    saveFile(`${name}.json`, "application/json", JSON.stringify(file, null, 2));
  } catch (error) {
    tell(error);
  }
}

function Card({ assistant, changed }: { assistant: Assistant; changed: () => Promise<void> }) {
  const { id, name, picture, description, mine } = assistant;
  const begin = () => {
    seed.value = { assistant_id: id };
    go("");
  };
  const remove = async () => {
    const question = { title: t.value.assistantRemove, text: t.value.assistantRemoveText, action: t.value.remove, danger: true };
    if (await confirmed(question)) await api.delete(at(`assistants/${id}`)).then(changed, tell);
  };
  const entries = (): MenuEntry[] => [
    { label: t.value.exportAssistant, icon: "download", run: () => void takeOut(assistant) },
    ...(mine === false
      ? []
      : ([
          { label: t.value.edit, icon: "edit", run: () => go(`assistants/${id}`) },
          "line",
          { label: t.value.remove, icon: "trash", danger: true, run: () => void remove() },
        ] satisfies MenuEntry[])),
  ];
  return (
    <li class="card-place">
      <button type="button" class="card" onClick={begin}>
        <Avatar name={name} picture={picture} />
        <strong>{name}</strong>
        <p>{description}</p>
      </button>
      <Menu label={t.value.moreFor(name)} entries={entries} end>
        <Icon name="more" />
      </Menu>
    </li>
  );
}
