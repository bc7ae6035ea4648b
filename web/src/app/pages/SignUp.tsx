import { Link } from "../../ui/Button";
import { address, go } from "../router";
import { session } from "../session";
import { t } from "../words";
import { AccountForm } from "./AccountForm";
import { Plain } from "./Plain";

/** A new account: where sign-up is open, or with an invitation (/sign-up?invitation=…). */
export default function SignUp() {
  const who = session.value;
  const invitation = address.value.query.get("invitation");
  const open = who.kind !== "stranger" || who.state.sign_up === "open";
  const hint = invitation ? t.value.invited : open ? undefined : t.value.byInvitation;
  return (
    <Plain title={t.value.newAccount} hint={hint}>
      {(open || invitation) && <AccountForm invitation={invitation} onDone={() => go("", { replace: true })} />}
      <p class="plain-foot">
        {t.value.haveAccount} <Link to="sign-in">{t.value.signIn}</Link>
      </p>
    </Plain>
  );
}
