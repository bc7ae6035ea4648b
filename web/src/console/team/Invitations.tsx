import { api } from "../../app/api";
import { IconButton } from "../../ui/Button";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { deed } from "../parts/deed";
import { orgPath } from "../parts/names";
import type { Invitation } from "./Members";
import { t } from "./words";

export function Invitations({ org, open, onChange }: { org: string; open: Invitation[]; onChange: () => void }) {
  const withdraw = async (one: Invitation) => {
    if (await deed(() => api.delete(`${orgPath(org)}/invitations/${one.id}`))) onChange();
  };
  return (
    <Table
      label={t.value.invitations}
      columns={[
        { id: "email", title: t.value.email, cell: (one: Invitation) => one.email },
        { id: "role", title: t.value.role, cell: (one) => t.value.roles[one.role] ?? one.role },
        { id: "ends", title: t.value.ends, cell: (one) => <Time at={one.expires_at} /> },
        {
          id: "tools",
          title: "",
          cell: (one) => (
            <span class="row-tools">
              <IconButton icon="trash" label={`${t.value.withdraw}: ${one.email}`} onClick={() => void withdraw(one)} />
            </span>
          ),
        },
      ]}
      rows={open}
      keyOf={(one) => one.id}
    />
  );
}
