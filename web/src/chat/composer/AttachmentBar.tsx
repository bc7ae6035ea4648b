import { formatBytes, formatPercent } from "../../ui/format";
import { IconButton } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { contentOf } from "../message/Attachments";
import type { AttachmentPart } from "../model";
import { model } from "../service";
import { t } from "../words";
import { detach, type Upload, uploads } from "./uploads";

interface BarProps {
  conversation: string | null;
  attachments: readonly AttachmentPart[];
}

/** What goes with the message: files on their way, files that are being read, files that are ready. */
export function AttachmentBar({ conversation, attachments }: BarProps) {
  if (attachments.length === 0 && uploads.value.length === 0) return null;
  return (
    <ul class="attachment-bar">
      {attachments.map((part) => (
        <li key={part.file_id} class={part.state === "failed" ? "file-chip failed" : "file-chip"}>
          {part.media_type.startsWith("image/") ? <img src={contentOf(part.file_id)} alt="" /> : <Icon name="file" />}
          <span>
            <strong>{part.name}</strong>
            <small class={isUnseen(part) ? "warn" : undefined}>{isUnseen(part) ? t.value.attachUnseen(model.value?.name ?? "") : standing(part)}</small>
          </span>
          <IconButton icon="close" label={t.value.detach(part.name)} onClick={() => detach(conversation, part.file_id)} />
        </li>
      ))}
      {uploads.value.map((upload) => (
        <Sending key={upload.key} upload={upload} />
      ))}
    </ul>
  );
}

/** Of an image, that the chosen model is known to read text alone. */
const isUnseen = ({ media_type }: AttachmentPart) => media_type.startsWith("image/") && model.value?.sees_images === false;

function standing({ state, bytes, error }: AttachmentPart): string {
  if (state === "reading") return t.value.attachReading;
  if (state === "failed") return error || t.value.attachUnread;
  return formatBytes(bytes);
}

function Sending({ upload: { name, sent, stop } }: { upload: Upload }) {
  const said = t.value.attachUploading(formatPercent(sent));
  return (
    <li class="file-chip">
      <Icon name="upload" />
      <span>
        <strong>{name}</strong>
        <small>{said}</small>
        <progress max={1} value={sent} aria-label={said} />
      </span>
      <IconButton icon="close" label={t.value.detach(name)} onClick={stop} />
    </li>
  );
}
