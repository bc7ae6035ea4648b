/** The settings dialog is fetched when it is first opened. */

import { createElement } from "preact";
import { notify } from "../ui/notice";
import { showDialog } from "./dialogs";
import { t } from "./words";

export function showSettings(): void {
  import("../chat/Settings").then(
    ({ Settings }) => showDialog((close) => createElement(Settings, { close })),
    () => notify(t.value.unreachable),
  );
}
