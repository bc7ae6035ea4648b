import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { findSession, may, organisation, user } from "../../app/session";
import { Avatar } from "../../app/AccountBar";
import { Button, IconButton } from "../../ui/Button";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { type Member, orgPath } from "../parts/names";
import { Intro, Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { FoundOrganisation, Invite, RenameOrganisation } from "./forms";
import { Invitations } from "./Invitations";
import { t } from "./words";

const ROLES = ["owner", "admin", "developer", "billing", "viewer"];

export default function Members({ org }: PageProps) {
  const load = useLoad(() => api.get<Member[]>(`${orgPath(org)}/members`), [org]);
  const invitations = useLoad(() => (may("members.write") ? api.get<Invitation[]>(`${orgPath(org)}/invitations`) : Promise.resolve([])), [org]);
  const invite = () => showDialog((close) => <Invite org={org} close={close} onDone={() => void invitations.again()} />);
  return (
    <>
      <Intro hint={t.value.membersHint}>
        {may("org.edit") && <Button onClick={() => showDialog((close) => <RenameOrganisation org={org} name={organisation.value?.name ?? ""} close={close} />)}>{t.value.renameOrg}</Button>}
        <Button onClick={() => showDialog((close) => <FoundOrganisation close={close} />)}>{t.value.newOrg}</Button>
        {may("members.write") && (
          <Button kind="primary" icon="plus" onClick={invite}>
            {t.value.invite}
          </Button>
        )}
      </Intro>
      <Loaded load={load}>{(members) => <MemberTable org={org} members={members} onChange={() => void load.again()} />}</Loaded>
      {may("members.write") && (
        <Loaded load={invitations}>
          {(open) =>
            open.length > 0 && (
              <Section title={t.value.invitations}>
                <Invitations org={org} open={open} onChange={() => void invitations.again()} />
              </Section>
            )
          }
        </Loaded>
      )}
    </>
  );
}

export interface Invitation {
  id: string;
  email: string;
  role: string;
  expires_at: number;
  created_at: number;
}

function MemberTable({ org, members, onChange }: { org: string; members: Member[]; onChange: () => void }) {
  const me = user.value?.id;
  const path = (member: Member) => `${orgPath(org)}/members/${member.user_id}`;
  const remove = async (member: Member) => {
    const mine = member.user_id === me;
    const action = mine ? t.value.leave : t.value.removeMember;
    const title = mine ? t.value.leave : t.value.removeTitle(member.name);
    const text = mine ? t.value.leaveText : t.value.removeText;
    if (!(await confirmed({ title, text, action, danger: true })) || !(await deed(() => api.delete(path(member))))) return;
    if (mine) await findSession();
    else onChange();
  };
  const mayChange = (member: Member) => (member.role === "owner" ? may("owners.write") : may("members.write"));
  const roles = ROLES.filter((role) => role !== "owner" || may("owners.write"));
  return (
    <Table
      label={t.value.membersHint}
      columns={[
        {
          id: "name",
          title: t.value.member,
          cell: (member: Member) => (
            <span class="person">
              <Avatar name={member.name} />
              <span>
                <strong>{member.name}</strong> {member.user_id === me && <span class="tag">{t.value.you}</span>}
                <small>{member.email}</small>
              </span>
            </span>
          ),
          value: (member) => member.name,
        },
        {
          id: "role",
          title: t.value.role,
          cell: (member) =>
            mayChange(member) && member.user_id !== me ? (
              <select
                class="in-row"
                aria-label={`${t.value.changeRole}: ${member.name}`}
                value={member.role}
                onChange={(event) => void deed(() => api.patch(path(member), { role: event.currentTarget.value })).then(onChange)}
              >
                {roles.map((role) => (
                  <option key={role} value={role}>
                    {t.value.roles[role]}
                  </option>
                ))}
              </select>
            ) : (
              <span title={t.value.roleHints[member.role]}>{t.value.roles[member.role] ?? member.role}</span>
            ),
          value: (member) => ROLES.indexOf(member.role),
        },
        { id: "since", title: t.value.since, cell: (member) => <Time at={member.created_at} />, value: (member) => member.created_at },
        {
          id: "tools",
          title: "",
          cell: (member) =>
            member.user_id === me || mayChange(member) ? (
              <span class="row-tools">
                <IconButton
                  icon={member.user_id === me ? "logout" : "trash"}
                  label={member.user_id === me ? t.value.leave : `${t.value.removeMember}: ${member.name}`}
                  onClick={() => void remove(member)}
                />
              </span>
            ) : null,
        },
      ]}
      rows={members}
      keyOf={(member) => member.user_id}
    />
  );
}
