import { lazy } from "../../app/lazy";
import { hrefOf } from "../../app/router";
import { formatBytes } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import type { AttachmentPart, Part } from "../model";
import { at } from "../server/backend";
import { openAttachment } from "../sources";
import { t } from "../words";

export const contentOf = (file: string): string => hrefOf(at(`attachments/${encodeURIComponent(file)}/content`));

/** Files that go with a message: pictures as pictures, the others by name. */
export function Attachments({ parts }: { parts: readonly Part[] }) {
  const files = parts.filter((part) => part.type === "attachment");
  if (files.length === 0) return null;
  return (
    <ul class="attachments">
      {files.map((file) => (
        <li key={file.file_id}>{file.media_type.startsWith("image/") ? <Picture file={file} /> : <Named file={file} />}</li>
      ))}
    </ul>
  );
}

function Picture({ file }: { file: AttachmentPart }) {
  return (
    <a href={contentOf(file.file_id)} target="_blank" rel="noopener">
      <img class="attached-image" src={contentOf(file.file_id)} alt={file.name} loading="lazy" />
    </a>
  );
}

function Named({ file }: { file: AttachmentPart }) {
  return (
    <button type="button" class="file-chip" title={t.value.openSource} onClick={() => openAttachment(file)}>
      <Icon name="file" />
      <span>
        <strong>{file.name}</strong>
        <small>{formatBytes(file.bytes)}</small>
      </span>
    </button>
  );
}

const Pictures = lazy(() => import("./Pictures"));

/** Pictures that a model made. */
export function Images({ parts }: { parts: readonly Part[] }) {
  return parts.some((part) => part.type === "image") ? <Pictures parts={parts} /> : null;
}
