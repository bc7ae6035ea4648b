/** Files of a project, over the platform's own endpoint. */

import { ApiError, refusal } from "../../app/api";
import { saveFile } from "../../ui/saveFile";
import { callJson, call, workKey } from "./workKey";

export interface File {
  id: string;
  bytes: number;
  created_at: number; // seconds
  filename: string;
  purpose: string;
}

export interface FilePage {
  data: File[];
  last_id: string | null;
  has_more: boolean;
}

export interface Place {
  org: string;
  project: string;
}

const PAGE = 50;

export const filesOf = (place: Place, { after, purpose }: { after?: string; purpose?: string } = {}) =>
  callJson<FilePage>(`v1/files?${new URLSearchParams({ limit: String(PAGE), ...(after && { after }), ...(purpose && { purpose }) })}`, place);

export const deleteFile = (place: Place, id: string) => callJson(`v1/files/${id}`, { ...place, method: "DELETE" });

export async function downloadFile(place: Place, { id, filename }: Pick<File, "id" | "filename">): Promise<void> {
  const response = await call(`v1/files/${id}/content`, place);
  if (!response.ok) throw await refusal(response);
  saveFile(filename, "application/octet-stream", await response.blob());
}

/** Upload one file; `sent` is told the share that is on its way, which fetch could not. */
export async function uploadFile(place: Place, file: Blob & { name: string }, purpose: string, sent: (share: number) => void): Promise<File> {
  const form = new FormData();
  form.set("purpose", purpose);
  form.set("file", file, file.name);
  const key = await workKey(place.org, place.project);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "v1/files");
    request.setRequestHeader("authorization", `Bearer ${key}`);
    request.upload.addEventListener("progress", ({ loaded, total }) => sent(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(new ApiError(null, "")));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText) as File);
      else void refusal(new Response(request.responseText, { status: request.status })).then(reject);
    });
    request.send(form);
  });
}
