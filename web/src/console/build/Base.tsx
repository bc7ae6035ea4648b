import { useState } from "preact/hooks";
import { confirmed, showDialog } from "../../app/dialogs";
import { go } from "../../app/router";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { TextField } from "../../ui/Field";
import { formatBytes, formatNumber } from "../../ui/format";
import { notify } from "../../ui/notice";
import { chooseFiles } from "../../ui/saveFile";
import { Table } from "../../ui/Table";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { BackTo, Section } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import type { Place } from "./files";
import { BASES, type Base, DOCUMENTS, type Paper, type Taken } from "./knowledge";
import { TrySearch } from "./TrySearch";
import { callEnveloped, longKey } from "./workKey";
import { t } from "./words";

const EVERY_MS = 2000;
const AT_ONCE = 10; // files of one upload
const DAY_MS = 86_400_000;

/** One knowledge base: its documents, how far they are read, and a search to try. */
export function BasePage({ place, id }: { place: Place; id: string }) {
  const base = useLoad(() => callEnveloped<Base>(`${BASES}/${id}`, place), [place.project, id]);
  const [live, setLive] = useState(true);
  const papers = useLoad(
    async () => {
      const { list } = await callEnveloped<{ list: Paper[] }>(`${DOCUMENTS}?knowledge_id=${encodeURIComponent(id)}&size=100`, place);
      setLive(list.some((paper) => paper.embedding_stat === 0));
      return list;
    },
    [place.project, id],
    live ? EVERY_MS : null,
  );
  const take = async (path: string, body: object | FormData) => {
    const key = await longKey(place.org, place.project, Date.now() + DAY_MS); // reading goes on when the page is gone
    const { failedInfos } = await callEnveloped<Taken>(path, { ...place, method: "POST", body, key });
    const refused = failedInfos.map((one) => `${one.fileName ?? one.url}: ${one.failReason}`);
    if (refused.length) notify(t.value.refusedDocuments(refused.join("; ")));
    await papers.again();
  };
  const add = async () => {
    const files = await chooseFiles({ multiple: true });
    for (let at = 0; at < files.length; at += AT_ONCE) {
      const form = new FormData();
      files.slice(at, at + AT_ONCE).forEach((file) => form.append("files", file, file.name));
      await deed(() => take(`${DOCUMENTS}/upload_document/${id}`, form));
    }
  };
  const addPage = () => showDialog((close) => <NewAddress close={close} send={(url) => take(`${DOCUMENTS}/upload_url`, { knowledge_id: id, upload_detail: [{ url }] })} />);
  const remove = async () => {
    const sure = await confirmed({ title: t.value.deleteBase, text: t.value.deleteBaseText, action: t.value.deleteBase, danger: true });
    if (sure && (await deed(() => callEnveloped(`${BASES}/${id}`, { ...place, method: "DELETE" })))) go("console/knowledge");
  };
  return (
    <>
      <BackTo to="console/knowledge">{t.value.allBases}</BackTo>
      <Loaded load={base}>
        {({ name, description }) => (
          <>
            <div class="page-head">
              <div>
                <h2>{name}</h2>
                {description && <p class="hint">{description}</p>}
              </div>
              <div class="buttons">
                <Button onClick={() => void remove()}>{t.value.deleteBase}</Button>
                <Button icon="link" onClick={addPage}>
                  {t.value.addAddress}
                </Button>
                <Button kind="primary" icon="upload" onClick={() => void add()}>
                  {t.value.addDocuments}
                </Button>
              </div>
            </div>
            <Section title={t.value.documents}>
              <Loaded load={papers}>{(list) => <Papers place={place} list={list} onChange={() => void papers.again()} />}</Loaded>
            </Section>
            <TrySearch place={place} base={id} />
          </>
        )}
      </Loaded>
    </>
  );
}

function NewAddress({ close, send }: { close: () => void; send: (url: string) => Promise<void> }) {
  const [url, setUrl] = useState("");
  return (
    <FormDialog title={t.value.addAddress} action={t.value.addAddress} send={() => send(url)} onClose={close}>
      <TextField label={t.value.address} type="url" value={url} onInput={setUrl} placeholder="https://" required autofocus />
    </FormDialog>
  );
}

function Papers({ place, list, onChange }: { place: Place; list: Paper[]; onChange: () => void }) {
  const remove = async (paper: Paper) => {
    const sure = await confirmed({ title: `${t.value.deleteDocument}: ${paper.name}`, text: t.value.deleteFileText, action: t.value.deleteDocument, danger: true });
    if (sure && (await deed(() => callEnveloped(`${DOCUMENTS}/${paper.id}`, { ...place, method: "DELETE" })))) onChange();
  };
  const again = async (paper: Paper) => {
    if (await deed(() => callEnveloped(`${DOCUMENTS}/embedding/${paper.id}`, { ...place, method: "POST", body: {} }))) onChange();
  };
  return (
    <Table
      label={t.value.documents}
      columns={[
        { id: "name", title: t.value.name, cell: (paper: Paper) => <strong>{paper.name}</strong>, value: (paper) => paper.name },
        {
          id: "state",
          title: t.value.state,
          cell: (paper) => (
            <>
              <Pill tone={(["busy", "good", "bad"] as const)[paper.embedding_stat] ?? "calm"}>{t.value.documentStates[paper.embedding_stat] ?? String(paper.embedding_stat)}</Pill>
              {paper.failInfo?.embedding_msg && <small>{paper.failInfo.embedding_msg}</small>}
            </>
          ),
        },
        { id: "size", title: t.value.size, cell: (paper) => formatBytes(paper.length), value: (paper) => paper.length, numeric: true },
        { id: "words", title: t.value.documentCharacters, cell: (paper) => formatNumber(paper.word_num), value: (paper) => paper.word_num, numeric: true },
        {
          id: "tools",
          title: "",
          cell: (paper) => (
            <span class="row-tools">
              {paper.embedding_stat !== 0 && <IconButton icon="retry" label={`${t.value.readAgain}: ${paper.name}`} onClick={() => void again(paper)} />}
              <IconButton icon="trash" label={`${t.value.deleteDocument}: ${paper.name}`} onClick={() => void remove(paper)} />
            </span>
          ),
        },
      ]}
      rows={list}
      keyOf={(paper) => paper.id}
      empty={<EmptyState title={t.value.noDocuments} hint={t.value.noDocumentsHint} icon="file" />}
    />
  );
}
