import { useEffect } from "preact/hooks";
import { Button } from "../../ui/Button";
import { lazy } from "../lazy";
import { findSession, type Session } from "../session";
import { t } from "../words";
import { Plain } from "./Plain";

const SignIn = lazy<object>(() => import("./SignIn"));
const RETRY_MS = 3000;

/** Where somebody must be known: sign in, or what is in the way of it. */
export function AskSession({ who }: { who: Extract<Session, { kind: "unreachable" | "stranger" }> }) {
  if (who.kind === "unreachable") return <Unreachable />;
  if (who.state.needs_first_account) {
    return (
      <Plain title={t.value.needsSetUp} hint={t.value.needsSetUpHint}>
        <Button onClick={() => void findSession()}>{t.value.tryAgain}</Button>
      </Plain>
    );
  }
  return <SignIn />;
}

function Unreachable() {
  useEffect(() => {
    const timer = setInterval(() => void findSession(), RETRY_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <Plain title={t.value.unreachable} hint={t.value.unreachableHint}>
      <Button onClick={() => void findSession()}>{t.value.tryAgain}</Button>
    </Plain>
  );
}
