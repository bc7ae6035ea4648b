import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { chooseOrganisation, findSession } from "../../app/session";
import { Select, TextField } from "../../ui/Field";
import { FormDialog } from "../parts/FormDialog";
import { orgPath } from "../parts/names";
import { SecretDialog } from "../parts/Secret";
import { t } from "./words";

interface InviteProps {
  org: string;
  close: () => void;
  onDone: () => void;
}

export function Invite({ org, close, onDone }: InviteProps) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState("developer");
  const send = async () => {
    const { token } = await api.post<{ token: string }>(`${orgPath(org)}/invitations`, { email, role });
    const link = new URL(`sign-up?invitation=${encodeURIComponent(token)}`, document.baseURI).href;
    showDialog((end) => <SecretDialog title={t.value.invitedLink} hint={t.value.invitedHint} secret={link} onClose={end} />);
    onDone();
  };
  return (
    <FormDialog title={t.value.invite} action={t.value.sendInvite} send={send} onClose={close}>
      <TextField label={t.value.email} type="email" value={email} onInput={setEmail} required autofocus />
      <Select label={t.value.role} value={role} hint={t.value.roleHints[role]} options={Object.entries(t.value.roles)} onChange={setRole} />
    </FormDialog>
  );
}

export function RenameOrganisation({ org, name: before, close }: { org: string; name: string; close: () => void }) {
  const [name, setName] = useState(before);
  const send = async () => {
    await api.patch(orgPath(org), { name });
    await findSession();
  };
  return (
    <FormDialog title={t.value.renameOrg} action={t.value.save} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} required autofocus />
    </FormDialog>
  );
}

export function FoundOrganisation({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const send = async () => {
    const { id } = await api.post<{ id: string }>("api/console/organisations", { name });
    await findSession();
    chooseOrganisation(id);
  };
  return (
    <FormDialog title={t.value.newOrg} action={t.value.foundOrg} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} hint={t.value.newOrgHint} required autofocus />
    </FormDialog>
  );
}
