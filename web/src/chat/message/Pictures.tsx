/** Pictures that a model drew: in the answer, and one of them large, to save and to copy. */

import { useState } from "preact/hooks";
import { Dialog } from "../../ui/Dialog";
import { Button, IconButton } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { notify } from "../../ui/notice";
import { saveFile } from "../../ui/saveFile";
import type { ImagePart, Part } from "../model";
import { t } from "../words";
import { contentOf } from "./Attachments";
import "../../style/pictures.css";

const addressOf = ({ file_id, url }: ImagePart): string => (file_id ? contentOf(file_id) : (url ?? ""));

export default function Pictures({ parts }: { parts: readonly Part[] }) {
  const strings = t.value;
  const images = parts.filter((part): part is ImagePart => part.type === "image");
  const [large, setLarge] = useState<number | null>(null);
  const shown = large === null ? undefined : images[large];
  return (
    <div class="images" data-count={Math.min(images.length, 4)}>
      {images.map((image, index) => {
        const address = addressOf(image);
        if (!address) return <p class="hint not-shared" key={index}><Icon name="image" /> {strings.pictureNotShared}</p>;
        return (
          <figure key={index} class="drawn">
            <button type="button" class="drawn-view" aria-label={strings.pictureLarge(image.alt ?? "")} onClick={() => setLarge(index)}>
              <img src={address} alt={image.alt ?? ""} loading="lazy" />
            </button>
            <Deeds address={address} alt={image.alt} />
          </figure>
        );
      })}
      {shown && (
        <Dialog title={strings.drawnPicture} class="picture-view" onClose={() => setLarge(null)} footer={<Footer shown={shown} at={large!} all={images.length} turn={setLarge} />}>
          <img src={addressOf(shown)} alt={shown.alt ?? ""} />
          {shown.alt && <p class="hint">{shown.alt}</p>}
        </Dialog>
      )}
    </div>
  );
}

function Footer({ shown, at, all, turn }: { shown: ImagePart; at: number; all: number; turn: (to: number) => void }) {
  const strings = t.value;
  const address = addressOf(shown);
  return (
    <>
      {all > 1 && (
        <span class="pager">
          <IconButton icon="left" label={strings.pictureBefore} disabled={at === 0} onClick={() => turn(at - 1)} />
          <span>{strings.answerOf(at + 1, all)}</span>
          <IconButton icon="right" label={strings.pictureAfter} disabled={at === all - 1} onClick={() => turn(at + 1)} />
        </span>
      )}
      <span class="grow" />
      {canCopy && <Button icon="copy" onClick={() => void copy(address)}>{strings.copy}</Button>}
      <Button icon="download" onClick={() => void save(address)}>{strings.pictureSave}</Button>
    </>
  );
}

function Deeds({ address, alt }: { address: string; alt?: string | undefined }) {
  const strings = t.value;
  return (
    <figcaption>
      <span class="alt" title={alt}>{alt}</span>
      {canCopy && <IconButton icon="copy" label={strings.pictureCopy} onClick={() => void copy(address)} />}
      <IconButton icon="download" label={strings.pictureSave} onClick={() => void save(address)} />
    </figcaption>
  );
}

/** Browsers copy pictures as PNG alone, and on https or this machine's own address alone. */
const canCopy = typeof ClipboardItem !== "undefined" && navigator.clipboard?.write !== undefined;

async function fetched(address: string): Promise<Blob> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} was answered with ${answer.status}`);
  return answer.blob();
}

async function save(address: string): Promise<void> {
  try {
    const blob = await fetched(address);
    saveFile(`picture.${blob.type.split("/")[1] ?? "png"}`, blob.type, blob);
  } catch {
    notify(t.value.pictureFailed);
  }
}

async function copy(address: string): Promise<void> {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": fetched(address).then(asPng) })]);
    notify(t.value.pictureCopied);
  } catch {
    notify(t.value.copyFailed);
  }
}

async function asPng(blob: Blob): Promise<Blob> {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((made) => (made ? resolve(made) : reject(new Error("the picture could not be read"))), "image/png"));
}
