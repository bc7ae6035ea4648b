import { useEffect, useState } from "preact/hooks";
import { Avatar } from "../../app/AccountBar";
import { api } from "../../app/api";
import { go } from "../../app/router";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { Choice, Select, TextArea, TextField, Toggle } from "../../ui/Field";
import { chooseFiles } from "../../ui/saveFile";
import { tell } from "../list";
import { me, models } from "../service";
import { at } from "../server/backend";
import { t } from "../words";
import { KnowledgeChoice } from "../KnowledgeChoice";
import { type Assistant, loadAssistant } from "./assistant";
import { draftsOf, McpServers, type ServerDraft, serversOf } from "./McpServers";
import { Page } from "./Page";

const NEW: Omit<Assistant, "id"> = {
  name: "",
  picture: null,
  description: "",
  instructions: "",
  knowledge: [],
  tools: {},
  examples: [],
  model: null,
  sampling: {},
  visibility: "private",
};
const PICTURE_PX = 96;

/** Make or change an assistant: assistants/new, assistants/:id. */
export function AssistantPage({ id }: { id: string }) {
  const isNew = id === "new";
  const [assistant, setAssistant] = useState<Omit<Assistant, "id"> | null>(isNew ? NEW : null);
  useEffect(() => {
    if (!isNew) loadAssistant(id).then((found) => (found ? setAssistant(found) : go("assistants", { replace: true })), tell);
  }, [id]);
  if (assistant === null) return <Page title={t.value.assistants} />;
  return (
    <Page title={isNew ? t.value.newAssistant : assistant.name}>
      <Form id={isNew ? null : id} given={assistant} />
    </Page>
  );
}

function Form({ id, given }: { id: string | null; given: Omit<Assistant, "id"> }) {
  const strings = t.value;
  const [draft, setDraft] = useState(given);
  const [examples, setExamples] = useState(given.examples.join("\n"));
  const [servers, setServers] = useState(draftsOf(given.tools.mcp ?? []));
  const change = (changes: Partial<Assistant>) => setDraft({ ...draft, ...changes });
  const { busy, failure, send } = useSend(async () => {
    const body = bodyOf(draft, examples, servers);
    if (id) await api.patch(at(`assistants/${id}`), body);
    else await api.post(at("assistants"), body);
    go("assistants", { replace: true });
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
      <div class="picture-row">
        <Avatar name={draft.name} picture={draft.picture} />
        <Button onClick={() => void pictureOf().then((picture) => picture && change({ picture }))}>{strings.choosePicture}</Button>
        {draft.picture && <Button onClick={() => change({ picture: null })}>{strings.remove}</Button>}
        <span class="hint">{strings.pictureHint}</span>
      </div>
      <TextField label={strings.name} required autofocus maxLength={100} value={draft.name} onInput={(name) => change({ name })} />
      <TextField label={strings.description} maxLength={500} value={draft.description} onInput={(description) => change({ description })} />
      <TextArea
        label={strings.instructions}
        hint={strings.assistantInstructionsHint}
        rows={6}
        value={draft.instructions}
        onInput={(instructions) => change({ instructions })}
      />
      <TextArea label={strings.examples} hint={strings.examplesHint} rows={3} value={examples} onInput={setExamples} />
      <Select
        label={strings.model}
        value={draft.model ?? ""}
        options={[["", strings.anyModel], ...models.value.map(({ id: name, name: title }) => [name, title] as const)]}
        onChange={(model) => change({ model: model || null })}
      />
      {me.value?.features.web_search && (
        <Toggle
          label={strings.webSearch}
          checked={draft.tools.web_search ?? false}
          onChange={(web_search) => change({ tools: { ...draft.tools, web_search } })}
        />
      )}
      <KnowledgeChoice hint={strings.assistantKnowledgeHint} chosen={draft.knowledge} onChange={(knowledge) => change({ knowledge })} />
      <McpServers drafts={servers} onChange={setServers} />
      <Choice
        label={strings.visibility}
        value={draft.visibility}
        {...(draft.visibility === "listed" && { hint: strings.listedHint })}
        options={Object.entries(strings.visibilities)}
        onChange={(visibility) => change({ visibility: visibility as Assistant["visibility"] })}
      />
      <div class="buttons">
        <Button type="submit" kind="primary" busy={busy}>
          {strings.save}
        </Button>
      </div>
    </form>
  );
}

const linesOf = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** What is sent: `mine` and the like are the server's to say. */
function bodyOf({ name, picture, description, instructions, knowledge, tools, model, sampling, visibility }: Omit<Assistant, "id">, examples: string, servers: readonly ServerDraft[]) {
  const mcp = serversOf(servers);
  const more = { knowledge, model, sampling, visibility, examples: linesOf(examples), tools: { ...tools, mcp } };
  return { name: name.trim(), picture, description, instructions, ...more };
}

/** A chosen picture, cut to a small square: assistants carry theirs with them. */
async function pictureOf(): Promise<string | null> {
  const [file] = await chooseFiles({ accept: "image/png,image/jpeg,image/webp" });
  if (!file) return null;
  const image = await createImageBitmap(file);
  const side = Math.min(image.width, image.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PICTURE_PX;
  const from = [(image.width - side) / 2, (image.height - side) / 2] as const;
  canvas.getContext("2d")!.drawImage(image, ...from, side, side, 0, 0, PICTURE_PX, PICTURE_PX);
  return canvas.toDataURL("image/png");
}
