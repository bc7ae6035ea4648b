/** Hand the reader a file that was made in the page. */
export function saveFile(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // browsers read it a while after the click
}

/** Let the reader choose files; none, where the dialog is closed. */
export function chooseFiles({ accept = "", multiple = false } = {}): Promise<File[]> {
  return new Promise((resolve) => {
    const field = document.createElement("input");
    field.type = "file";
    field.accept = accept;
    field.multiple = multiple;
    field.className = "visually-hidden";
    const end = (files: File[]) => {
      field.remove();
      resolve(files);
    };
    field.addEventListener("change", () => end([...(field.files ?? [])]));
    field.addEventListener("cancel", () => end([]));
    document.body.append(field);
    field.click();
  });
}
