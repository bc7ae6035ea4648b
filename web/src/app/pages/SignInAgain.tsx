import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { leaveSession, session } from "../session";
import { t } from "../words";
import { SignInForm } from "./SignInForm";

/** The session ended while somebody was at work: they sign in over their page, and go on where they were. */
export function SignInAgain() {
  const who = session.value;
  return (
    <Dialog title={t.value.signInAgain} onClose={leaveSession} footer={<Button onClick={leaveSession}>{t.value.leave}</Button>}>
      <p>{t.value.signInAgainHint}</p>
      <SignInForm
        state={who.kind === "member" ? who.state : null}
        email={who.kind === "member" ? who.user.email : ""}
        onDone={() => undefined}
      />
    </Dialog>
  );
}
