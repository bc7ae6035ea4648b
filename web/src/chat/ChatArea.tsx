/** Everything under the chat's side bar: the conversation, and the pages beside it. */

import { useEffect } from "preact/hooks";
import { useKeys } from "../app/keys";
import { lazy } from "../app/lazy";
import { closeDrawer, isNarrow, setSidebar, sidebarOpen } from "../app/layout";
import { address, go } from "../app/router";
import { Shell } from "../app/Shell";
import { t as shell } from "../app/words";
import { ChatSidebar } from "./ChatSidebar";
import { focusComposer } from "./composer/focus";
import { Conversation } from "./Conversation";
import { onServer } from "./service";
import { stopAll, streaming } from "./thread";
import { t } from "./words";

const Pages = lazy<{ path: string }>(() => import("./pages/Pages"));
const PAGES = /^(search|archive|projects|assistants|prompts|memory)(\/|$)/;

export function ChatArea() {
  useEffect(() => useKeys(KEYS), []);
  const { path } = address.value;
  return (
    <Shell label={t.value.conversations} sidebar={<ChatSidebar />}>
      {PAGES.test(path) && onServer.value ? <Pages path={path} /> : <Conversation />}
    </Shell>
  );
}

export function startNew(): void {
  go("");
  closeDrawer();
  focusComposer();
}

const KEYS = [
  { keys: "mod+shift+o", label: () => t.value.newConversation, run: startNew },
  { keys: "mod+k", label: () => t.value.search, run: () => (onServer.value ? go("search") : false) },
  { keys: "mod+b", label: () => shell.value.openSidebar, run: () => setSidebar(!sidebarOpen()) },
  {
    keys: "escape",
    label: () => t.value.stop,
    run: () => {
      if (isNarrow.value && sidebarOpen()) closeDrawer();
      else if (streaming.value) void stopAll();
      else return false;
    },
  },
];
