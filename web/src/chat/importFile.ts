import { api } from "../app/api";
import { notify } from "../ui/notice";
import { chooseFiles } from "../ui/saveFile";
import { reloadList, tell } from "./list";
import { at } from "./server/backend";
import { t } from "./words";

/** Conversations from a file: our own export, or another chat's. */
export async function importFile(): Promise<void> {
  const [file] = await chooseFiles({ accept: "application/json,.json" });
  if (!file) return;
  try {
    const { conversations } = await api.post<{ conversations: number }>(at("import"), JSON.parse(await file.text()));
    notify(t.value.imported(conversations));
    await reloadList();
  } catch (error) {
    if (error instanceof SyntaxError) notify(t.value.attachUnread);
    else tell(error);
  }
}
