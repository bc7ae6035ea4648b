import { useState } from "preact/hooks";
import { sidebarOpen } from "../app/layout";
import { PageHeader } from "../app/Shell";
import { IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { Menu, type MenuEntry } from "../ui/Menu";
import { startNew } from "./ChatArea";
import { conversationMenu } from "./conversationMenu";
import { rename } from "./list";
import { chooseModel, model, models, onServer, server } from "./service";
import { compare, compared, conversation, seed } from "./thread";
import { t } from "./words";

export function Header() {
  const strings = t.value;
  const shown = conversation.value;
  const [renaming, setRenaming] = useState(false);
  return (
    <PageHeader>
      {!sidebarOpen() && <IconButton icon="pen" label={strings.newConversation} onClick={startNew} />}
      <ModelName />
      <span class="grow" />
      {renaming && shown ? (
        <input
          class="rename in-header"
          aria-label={strings.rename}
          defaultValue={shown.title}
          maxLength={120}
          ref={(field) => field?.select()}
          onBlur={(event) => {
            void rename(shown, event.currentTarget.value);
            setRenaming(false);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.isComposing) event.currentTarget.blur();
            if (event.key === "Escape") setRenaming(false);
          }}
        />
      ) : null}
      {!shown && onServer.value && (
        <IconButton
          icon="ghost"
          label={strings.temporary}
          pressed={seed.value.temporary ?? false}
          onClick={() => (seed.value = { ...seed.value, temporary: !seed.value.temporary })}
        />
      )}
      {shown && (
        <Menu label={strings.conversationMenu} entries={() => conversationMenu(shown, () => setRenaming(true))} end>
          <Icon name="more" />
        </Menu>
      )}
    </PageHeader>
  );
}

/** The model's real name and licence. A choice only where the server has more than one. */
function ModelName() {
  const state = server.value;
  const strings = t.value;
  if (state.state === "connecting") return <span class="model faint">{strings.connecting}</span>;
  if (state.state === "down") return <span class="model faint">{strings.unreachable}</span>;
  if (model.value === null) return <span class="model faint">{strings.noModel}</span>;
  const { name, licence } = model.value;
  const shown = compared.value.length > 0 ? strings.comparing(compared.value.length) : name;
  return (
    <span class="model">
      {models.value.length > 1 ? (
        <Menu label={strings.chooseModel} class="model-choice" entries={modelEntries}>
          <span class="name">{shown}</span>
          <Icon name="chevron" />
        </Menu>
      ) : (
        <span class="name" title={name}>
          {name}
        </span>
      )}
      {licence && compared.value.length === 0 && (
        <span class="tag" title={strings.licence}>
          {licence}
        </span>
      )}
    </span>
  );
}

const MOST_COMPARED = 4;

function modelEntries(): MenuEntry[] {
  const chosen = compared.value.length > 0 ? compared.value : model.value ? [model.value.id] : [];
  const toggle = (id: string) => {
    const next = chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id];
    if (next[0]) chooseModel(next[0]);
    compare(next.slice(0, MOST_COMPARED));
  };
  return [
    ...models.value.map(({ id, name, draws }): MenuEntry => ({
      label: name,
      ...(draws ? { icon: "image", detail: t.value.draws } : name !== id && { detail: id }),
      checked: compared.value.length === 0 && id === model.value?.id,
      run: () => {
        compare([]);
        chooseModel(id);
      },
    })),
    "line",
    { heading: t.value.compareWith },
    ...models.value.filter(({ id }) => id !== model.value?.id).map(({ id, name }): MenuEntry => ({
      label: name,
      icon: "columns",
      checked: compared.value.includes(id),
      run: () => toggle(id),
    })),
  ];
}
