import { useEffect } from "preact/hooks";
import { ChatArea } from "../chat/ChatArea";
import { NoticeBar } from "../ui/NoticeBar";
import { Dialogs } from "./dialogs";
import { useKeys } from "./keys";
import { AskSession } from "./pages/AskSession";
import { NotFound, Waiting } from "./pages/Plain";
import { address } from "./router";
import { isOpenToAll, routeOf } from "./routes";
import { session, signInAgain } from "./session";
import { showShortcuts } from "./ShortcutsDialog";
import { SignInAgain } from "./pages/SignInAgain";
import { t } from "./words";

export function App() {
  useEffect(() => useKeys([{ keys: "?", label: () => t.value.shortcuts, run: showShortcuts }]), []);
  return (
    <>
      <Area />
      <NoticeBar />
      <Dialogs />
      {signInAgain.value && <SignInAgain />}
    </>
  );
}

/** What the address shows to whoever is here. */
function Area() {
  const route = routeOf(address.value.path);
  const who = session.value;
  if (who.kind === "asking") return <Waiting />;
  if (route === null) return <NotFound />;
  if (isOpenToAll(route) && who.kind !== "single") return <route.view {...route.named} />;
  if (who.kind === "unreachable" || who.kind === "stranger") return <AskSession who={who} />;
  if (route.area === "console" && who.kind !== "member") return <NotFound />;
  if (route.area === "chat") return <ChatArea />;
  return <route.view {...route.named} />;
}
