import { hrefOf } from "../app/router";
import type { MenuEntry } from "../ui/Menu";
import { saveFile } from "../ui/saveFile";
import { titleOf } from "./list";
import type { Conversation } from "./model";
import { rowMenu } from "./rowMenu";
import { onBrowser, onServer } from "./service";
import { at } from "./server/backend";
import { showShare } from "./share";
import { markdownOf } from "./browser/export";
import { t } from "./words";

/** The menu of the open conversation: what its row in the list offers, and what goes out of it. */
export function conversationMenu(shown: Conversation, rename: () => void): MenuEntry[] {
  const strings = t.value;
  const out: MenuEntry[] = [
    { label: strings.exportMarkdown, icon: "download", run: () => exportAs(shown, "markdown") },
    { label: strings.exportJson, icon: "download", run: () => exportAs(shown, "json") },
  ];
  if (shown.temporary) return out;
  const share: MenuEntry[] = onServer.value ? [{ label: strings.share, icon: "share", run: () => showShare(shown.id) }] : [];
  return [...share, ...out, "line", ...rowMenu(shown, rename)];
}

function exportAs(shown: Conversation, format: "markdown" | "json"): void {
  const local = onBrowser.value;
  if (!local) {
    location.assign(hrefOf(at(`conversations/${shown.id}/export?as=${format}`)));
    return;
  }
  const kept = local.whole(shown.id);
  const name = titleOf(shown).replace(/[\\/:*?"<>|]+/g, " ").trim();
  if (format === "json") saveFile(`${name}.json`, "application/json", JSON.stringify(kept, null, 2));
  else saveFile(`${name}.md`, "text/markdown", markdownOf(kept));
}
