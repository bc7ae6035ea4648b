import { useState } from "preact/hooks";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { signUp } from "../session";
import { useSend } from "../useSend";
import { t } from "../words";

interface FormProps {
  invitation?: string | null;
  setup?: string | null;
  onDone: () => void;
}

const SHORTEST = 10; // characters of a password; identity/passwords.py

/** Name, e-mail, password: for the first account with the set-up token, for others with or without an invitation. */
export function AccountForm({ invitation, setup, onDone }: FormProps) {
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const { busy, failure, send } = useSend(async () => {
    await signUp({ name, email, password, ...(invitation && { invitation }), ...(setup && { setup }) });
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
        <TextField label={t.value.name} autoComplete="name" required autofocus value={name} onInput={setName} />
        <TextField label={t.value.email} type="email" autoComplete="email" required value={email} onInput={setEmail} />
        <TextField
          label={t.value.password}
          type="password"
          autoComplete="new-password"
          required
          minLength={SHORTEST}
          hint={t.value.passwordHint}
          value={password}
          onInput={setPassword}
        />
        <Button type="submit" kind="primary" busy={busy}>
          {t.value.create}
        </Button>
      </form>
    </>
  );
}
