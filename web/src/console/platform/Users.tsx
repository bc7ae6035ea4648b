import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { user as me } from "../../app/session";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { PLATFORM } from "./models";
import { t } from "./words";

interface User {
  id: string;
  email: string;
  name: string;
  is_operator: boolean;
  is_disabled: boolean;
  created_at: number;
}

const USERS = `${PLATFORM}/users`;
const PAGE = 100;

export function Users() {
  const load = useLoad(() => api.get<User[]>(USERS), []);
  const [rest, setRest] = useState<User[]>([]);
  const again = () => {
    setRest([]);
    void load.again();
  };
  return (
    <Loaded load={load}>
      {(first) => {
        const users = [...first, ...rest];
        const more = async () => setRest([...rest, ...(await api.get<User[]>(USERS, { after: users.at(-1)?.id }))]);
        return (
          <div class="part">
            <div class="buttons">
              <Button icon="plus" onClick={() => showDialog((close) => <NewUser close={close} onDone={again} />)}>
                {t.value.addUser}
              </Button>
            </div>
            <UserTable users={users} onChange={again} />
            {users.length % PAGE === 0 && (
              <span class="more-rows">
                <Button onClick={() => void deed(more)}>{t.value.olderRows}</Button>
              </span>
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

function UserTable({ users, onChange }: { users: User[]; onChange: () => void }) {
  const entries = (one: User): MenuEntry[] => {
    const turn = (change: Partial<User>) => () => void deed(() => api.patch(`${USERS}/${one.id}`, change)).then(onChange);
    return [
      { label: one.is_disabled ? t.value.enableUser : t.value.disableUser, icon: "stop", run: turn({ is_disabled: !one.is_disabled }) },
      { label: one.is_operator ? t.value.endOperator : t.value.makeOperator, icon: "shield", run: turn({ is_operator: !one.is_operator }) },
      { label: t.value.resetPassword, icon: "key", run: () => void showDialog((close) => <NewPassword user={one} close={close} />) },
    ];
  };
  return (
    <Table
      label={t.value.users}
      columns={[
        {
          id: "name",
          title: t.value.name,
          cell: (one: User) => (
            <>
              <strong>{one.name}</strong>
              <small>{one.email}</small>
            </>
          ),
          value: (one) => one.name,
        },
        {
          id: "state",
          title: t.value.state,
          cell: (one) => <Pill tone={one.is_disabled ? "bad" : "good"}>{one.is_disabled ? t.value.disabled : one.is_operator ? t.value.operator : t.value.active}</Pill>,
        },
        { id: "since", title: t.value.since, cell: (one) => <Time at={one.created_at} />, value: (one) => one.created_at },
        {
          id: "tools",
          title: "",
          cell: (one) =>
            one.id === me.value?.id ? null : (
              <span class="row-tools">
                <Menu label={t.value.more(one.name)} entries={() => entries(one)} end>
                  <Icon name="more" />
                </Menu>
              </span>
            ),
        },
      ]}
      rows={users}
      keyOf={(one) => one.id}
    />
  );
}

function NewUser({ close, onDone }: { close: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const send = async () => {
    await api.post(USERS, { name, email, password });
    onDone();
  };
  return (
    <FormDialog title={t.value.addUser} action={t.value.addUser} send={send} onClose={close}>
      <TextField label={t.value.name} value={name} onInput={setName} required autofocus autoComplete="off" />
      <TextField label={t.value.email} type="email" value={email} onInput={setEmail} required autoComplete="off" />
      <TextField label={t.value.password} type="password" value={password} onInput={setPassword} minLength={10} hint={t.value.passwordHint} required autoComplete="new-password" />
    </FormDialog>
  );
}

function NewPassword({ user, close }: { user: User; close: () => void }) {
  const [password, setPassword] = useState("");
  const send = () => api.post<void>(`${USERS}/${user.id}/password`, { password });
  return (
    <FormDialog title={`${t.value.resetPassword}: ${user.name}`} action={t.value.resetPassword} send={send} onClose={close}>
      <p>{t.value.resetText}</p>
      <TextField label={t.value.password} type="password" value={password} onInput={setPassword} minLength={10} hint={t.value.passwordHint} required autofocus autoComplete="new-password" />
    </FormDialog>
  );
}
