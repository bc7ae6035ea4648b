import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { confirmed } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select } from "../../ui/Field";
import { formatBytes } from "../../ui/format";
import { Meter } from "../../ui/Meter";
import { notify } from "../../ui/notice";
import { chooseFiles } from "../../ui/saveFile";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { Intro } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { deleteFile, downloadFile, type File, filesOf, type Place, uploadFile } from "./files";
import { ProjectChoice } from "./ProjectChoice";
import { t } from "./words";

const PURPOSES = ["batch", "fine-tune", "user_data", "vision", "retrieval", "agent", "evals"];

export default function Files({ org }: PageProps) {
  return (
    <>
      <Intro hint={t.value.filesHint} />
      <ProjectChoice org={org}>
        {(project, choice) => <OfProject key={project} place={{ org, project }} choice={choice} />}
      </ProjectChoice>
    </>
  );
}

function OfProject({ place, choice }: { place: Place; choice: ComponentChildren }) {
  const [purpose, setPurpose] = useState("batch");
  const [share, setShare] = useState<number | null>(null);
  const [older, setOlder] = useState<File[]>([]);
  const load = useLoad(() => filesOf(place), [place.project]);
  const [last, setLast] = useState<string | null>(null);
  const again = async () => {
    setOlder([]);
    setLast(null);
    await load.again();
  };
  const upload = async () => {
    for (const file of await chooseFiles({ multiple: true })) {
      setShare(0);
      if (await deed(() => uploadFile(place, file, purpose, setShare))) notify(t.value.uploaded(file.name));
    }
    setShare(null);
    await again();
  };
  return (
    <>
      <div class="controls">
        {choice}
        <Select label={t.value.purpose} value={purpose} options={PURPOSES.map((word) => [word, t.value.purposes[word] ?? word])} onChange={setPurpose} />
        <Button kind="primary" icon="upload" busy={share !== null} onClick={() => void upload()}>
          {t.value.upload}
        </Button>
      </div>
      {share !== null && <Meter label={t.value.uploading} used={share} limit={1} text={`${Math.round(share * 100)}%`} />}
      <Loaded load={load}>
        {(first) => {
          const next = last ?? (first.has_more ? first.last_id : null);
          const more = async () => {
            const page = await filesOf(place, { after: next ?? "" });
            setOlder([...older, ...page.data]);
            setLast(page.has_more ? page.last_id : "");
          };
          return (
            <>
              <FileTable place={place} files={[...first.data, ...older]} onChange={() => void again()} />
              {next && (
                <span class="more-rows">
                  <Button onClick={() => void deed(more)}>{t.value.more}</Button>
                </span>
              )}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

function FileTable({ place, files, onChange }: { place: Place; files: File[]; onChange: () => void }) {
  const remove = async (file: File) => {
    const sure = await confirmed({ title: t.value.deleteFileTitle(file.filename), text: t.value.deleteFileText, action: t.value.deleteFile, danger: true });
    if (sure && (await deed(() => deleteFile(place, file.id)))) onChange();
  };
  return (
    <Table
      label={t.value.filesHint}
      columns={[
        {
          id: "name",
          title: t.value.name,
          cell: (file: File) => (
            <>
              <strong>{file.filename}</strong>
              <small class="mono">{file.id}</small>
            </>
          ),
          value: (file) => file.filename,
        },
        { id: "purpose", title: t.value.purpose, cell: (file) => t.value.purposes[file.purpose] ?? file.purpose, value: (file) => file.purpose },
        { id: "size", title: t.value.size, cell: (file) => formatBytes(file.bytes), value: (file) => file.bytes, numeric: true },
        { id: "created", title: t.value.created, cell: (file) => <Time at={file.created_at * 1000} />, value: (file) => file.created_at },
        {
          id: "tools",
          title: "",
          cell: (file) => (
            <span class="row-tools">
              <IconButton icon="download" label={`${t.value.download}: ${file.filename}`} onClick={() => void deed(() => downloadFile(place, file))} />
              <IconButton icon="trash" label={`${t.value.deleteFile}: ${file.filename}`} onClick={() => void remove(file)} />
            </span>
          ),
        },
      ]}
      rows={files}
      keyOf={(file) => file.id}
      empty={<EmptyState title={t.value.noFiles} hint={t.value.noFilesHint} icon="file" />}
    />
  );
}
