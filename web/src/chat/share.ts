import { createElement } from "preact";
import { showDialog } from "../app/dialogs";
import { notify } from "../ui/notice";
import { t } from "./words";

/** The dialog is fetched when it is first opened. */
export function showShare(conversation: string): void {
  import("./ShareDialog").then(
    ({ ShareDialog }) => showDialog((close) => createElement(ShareDialog, { conversation, close })),
    () => notify(t.value.unreachable),
  );
}
