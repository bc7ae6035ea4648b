import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Toggle } from "../../ui/Field";
import { formatDate } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { type Key, orgPath, useNames } from "../parts/names";
import { Intro } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { KeyForm } from "./KeyForm";
import { isOurs } from "./workKey";
import { t } from "./words";

const hasEnded = (key: Key) => key.revoked_at !== null || (key.expires_at !== null && key.expires_at < Date.now());

export default function Keys({ org }: PageProps) {
  const load = useLoad(() => api.get<Key[]>(`${orgPath(org)}/keys`), [org]);
  const nameOf = useNames(org);
  const [ended, showEnded] = useState(false);
  const again = () => void load.again();
  const open = (key?: Key) => showDialog((close) => <KeyForm org={org} known={key ?? null} close={close} onDone={again} />);
  const revoke = async (key: Key) => {
    const sure = await confirmed({ title: t.value.revokeTitle(key.name), text: t.value.revokeText, action: t.value.revoke, danger: true });
    if (sure && (await deed(() => api.delete(`${orgPath(org)}/keys/${key.id}`)))) again();
  };
  const make = (
    <Button kind="primary" icon="plus" onClick={() => open()}>
      {t.value.newKey}
    </Button>
  );
  return (
    <>
      <Intro hint={t.value.keysHint}>{make}</Intro>
      <Loaded load={load}>
        {(keys) => {
          const live = keys.filter((key) => !hasEnded(key) && !isOurs(key));
          const others = keys.filter((key) => hasEnded(key) !== isOurs(key)); // ended ones, and those that the console works with
          return (
            <>
              <Table
                label={t.value.keysHint}
                columns={columns(nameOf, open, (key) => void revoke(key))}
                rows={ended ? [...live, ...others] : live}
                keyOf={(key) => key.id}
                empty={<EmptyState title={t.value.noKeys} hint={t.value.noKeysHint} icon="key" />}
              />
              {others.length > 0 && <Toggle label={t.value.showEnded} checked={ended} onChange={showEnded} />}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

function columns(nameOf: (id: string | null) => string, open: (key: Key) => void, revoke: (key: Key) => void): Column<Key>[] {
  return [
    {
      id: "name",
      title: t.value.name,
      cell: (key) => (
        <>
          <strong>{key.name}</strong>
          <small class="mono">{key.id}</small>
        </>
      ),
      value: (key) => key.name,
    },
    { id: "project", title: t.value.project, cell: (key) => nameOf(key.project_id), value: (key) => nameOf(key.project_id) },
    { id: "owner", title: t.value.owner, cell: (key) => (key.user_id ? nameOf(key.user_id) : t.value.nobody), wide: true },
    { id: "allowed", title: t.value.allowed, cell: allowed },
    {
      id: "used",
      title: t.value.lastUsed,
      cell: (key) => (key.last_used_at ? <Time at={key.last_used_at} /> : t.value.never),
      value: (key) => key.last_used_at ?? 0,
    },
    { id: "state", title: t.value.state, cell: state },
    {
      id: "tools",
      title: "",
      cell: (key) =>
        hasEnded(key) ? null : (
          <span class="row-tools">
            <IconButton icon="edit" label={`${t.value.changeKey}: ${key.name}`} onClick={() => open(key)} />
            <IconButton icon="trash" label={`${t.value.revoke}: ${key.name}`} onClick={() => revoke(key)} />
          </span>
        ),
    },
  ];
}

function state(key: Key) {
  if (key.revoked_at !== null) return <Pill tone="bad">{t.value.revoked}</Pill>;
  if (hasEnded(key)) return <Pill tone="calm">{t.value.ended}</Pill>;
  if (key.expires_at === null) return <Pill tone="good">{t.value.active}</Pill>;
  return <Pill tone="good">{`${t.value.expires} ${formatDate(key.expires_at)}`}</Pill>;
}

function allowed(key: Key) {
  const endpoints = key.endpoints.map((word) => t.value.endpointNames[word] ?? word);
  const parts = [...key.models, ...endpoints, ...key.cidrs];
  return parts.length ? parts.join(", ") : t.value.everything;
}
