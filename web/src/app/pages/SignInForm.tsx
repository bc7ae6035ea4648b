import { useState } from "preact/hooks";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { hrefOf } from "../router";
import { signIn, type State } from "../session";
import { useSend } from "../useSend";
import { t } from "../words";

interface FormProps {
  state: State | null;
  email?: string;
  onDone: () => void;
}

/** E-mail and password, or one of the identity providers. */
export function SignInForm({ state, email: known = "", onDone }: FormProps) {
  const [email, setEmail] = useState(known);
  const [password, setPassword] = useState("");
  const { busy, failure, send } = useSend(async () => {
    await signIn(email, password);
    onDone();
  });
  return (
    <>
      <FailureNote failure={failure} />
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <TextField label={t.value.email} type="email" autoComplete="username" required autofocus={!known} value={email} onInput={setEmail} />
        <TextField label={t.value.password} type="password" autoComplete="current-password" required autofocus={!!known} value={password} onInput={setPassword} />
        <Button type="submit" kind="primary" busy={busy}>
          {t.value.signIn}
        </Button>
      </form>
      {state && state.providers.length > 0 && <Providers state={state} />}
    </>
  );
}

function Providers({ state }: { state: State }) {
  const back = encodeURIComponent(location.pathname + location.search);
  return (
    <>
      <p class="or">{t.value.orElse}</p>
      <div class="providers">
        {state.providers.map(({ name, title }) => (
          <a key={name} class="button" href={hrefOf(`api/console/oidc/${encodeURIComponent(name)}?return_to=${back}`)}>
            {t.value.signInWith(title)}
          </a>
        ))}
      </div>
    </>
  );
}
