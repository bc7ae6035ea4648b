import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { findSession, user } from "../../app/session";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { notify } from "../../ui/notice";
import type { PageProps } from "../pages";
import { Intro } from "../parts/Page";
import { Identities } from "./Identities";
import { SessionList } from "./SessionList";
import { t } from "./words";

export default function Account(_: PageProps) {
  return (
    <>
      <Intro hint={t.value.accountHint} />
      <div class="halves">
        <Profile />
        <Password />
      </div>
      <SessionList />
      <div class="halves">
        <Identities />
        <Join />
      </div>
    </>
  );
}

function Profile() {
  const [name, setName] = useState(user.value?.name ?? "");
  const { busy, failure, send } = useSend(async () => {
    await api.patch("api/console/me", { name });
    await findSession();
    notify(t.value.renamed);
  });
  return (
    <form class="box" onSubmit={(event) => (event.preventDefault(), void send())}>
      <h2>{t.value.profile}</h2>
      <FailureNote failure={failure} />
      <TextField label={t.value.name} value={name} onInput={setName} autoComplete="name" required />
      <TextField label={t.value.email} value={user.value?.email ?? ""} onInput={() => undefined} readOnly />
      <Button type="submit" busy={busy}>
        {t.value.save}
      </Button>
    </form>
  );
}

function Password() {
  const has = user.value?.has_password ?? true;
  const [old, setOld] = useState("");
  const [next, setNext] = useState("");
  const { busy, failure, send } = useSend(async () => {
    await api.post("api/console/me/password", { old: has ? old : null, new: next });
    setOld("");
    setNext("");
    await findSession();
    notify(t.value.passwordChanged);
  });
  const title = has ? t.value.changePassword : t.value.setPassword;
  return (
    <form class="box" onSubmit={(event) => (event.preventDefault(), void send())}>
      <h2>{t.value.password}</h2>
      <FailureNote failure={failure} />
      {has && <TextField label={t.value.oldPassword} type="password" value={old} onInput={setOld} autoComplete="current-password" required />}
      <TextField label={t.value.newPassword} type="password" value={next} onInput={setNext} autoComplete="new-password" minLength={10} hint={t.value.passwordHint} required />
      <Button type="submit" busy={busy}>
        {title}
      </Button>
    </form>
  );
}

function Join() {
  const [token, setToken] = useState("");
  const { busy, failure, send } = useSend(async () => {
    const given = token.trim();
    await api.post("api/console/invitations/accept", { token: /[?&]invitation=([^&]+)/.exec(given)?.[1] ?? given });
    setToken("");
    await findSession();
    notify(t.value.joined);
  });
  return (
    <form class="box" onSubmit={(event) => (event.preventDefault(), void send())}>
      <h2>{t.value.joinTitle}</h2>
      <FailureNote failure={failure} />
      <TextField label={t.value.invitedLink} value={token} onInput={setToken} hint={t.value.joinHint} autoComplete="off" required />
      <Button type="submit" busy={busy}>
        {t.value.join}
      </Button>
    </form>
  );
}
