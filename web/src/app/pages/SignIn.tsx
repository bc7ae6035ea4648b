import { Link } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { address, go } from "../router";
import { session } from "../session";
import { t } from "../words";
import { Plain } from "./Plain";
import { SignInForm } from "./SignInForm";

/** The sign-in page; also shown in the place of any page that wants to know who asks. */
export default function SignIn() {
  const who = session.value;
  const state = who.kind === "stranger" || who.kind === "household" || who.kind === "member" ? who.state : null;
  const refused = address.value.query.get("sign_in_error");
  return (
    <Plain title={t.value.welcomeBack}>
      <FailureNote failure={refused ? { what: refused, hint: null, param: null } : null} />
      <SignInForm
        state={state}
        onDone={() => {
          if (address.value.path === "sign-in" || refused) go("", { replace: true });
        }}
      />
      {state?.sign_up === "open" && !state.needs_first_account && (
        <p class="plain-foot">
          {t.value.noAccount} <Link to="sign-up">{t.value.signUp}</Link>
        </p>
      )}
    </Plain>
  );
}
