/** Knowledge bases that answers may draw on: those of the organisation. */

import { createElement } from "preact";
import { api } from "../app/api";
import { showDialog } from "../app/dialogs";
import { notify } from "../ui/notice";
import { at } from "./server/backend";
import { t } from "./words";

export interface KnowledgeBase {
  id: string;
  name: string;
  description: string | null;
  documents: number;
}

export const loadBases = () => api.get<KnowledgeBase[]>(at("knowledge"));

/** The dialog is fetched when it is first opened. */
export function showKnowledge(): void {
  import("./KnowledgeDialog").then(
    ({ KnowledgeDialog }) => showDialog((close) => createElement(KnowledgeDialog, { close })),
    () => notify(t.value.unreachable),
  );
}
