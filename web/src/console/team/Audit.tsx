import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { may } from "../../app/session";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Choice } from "../../ui/Field";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath, useNames } from "../parts/names";
import { Intro } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Row {
  id: string;
  actor_id: string | null;
  action: string;
  target: string;
  details: Record<string, unknown>;
  ip: string | null;
  at: number;
}

interface Page {
  rows: Row[];
  next: string | null;
}

export default function Audit({ org }: PageProps) {
  const [scope, setScope] = useState("org");
  const nameOf = useNames(org);
  const path = scope === "org" ? `${orgPath(org)}/audit` : "api/console/platform/audit";
  const load = useLoad(() => api.get<Page>(path), [path]);
  const [older, setOlder] = useState<{ path: string; pages: Page[] }>({ path, pages: [] });
  const rest = older.path === path ? older.pages : [];
  return (
    <>
      <Intro hint={t.value.auditHint} />
      {may("operator") && (
        <div class="controls">
          <Choice
            label={t.value.auditScope}
            value={scope}
            options={[
              ["org", t.value.auditOrg],
              ["all", t.value.auditAll],
            ]}
            onChange={setScope}
          />
        </div>
      )}
      <Loaded load={load}>
        {(first) => {
          const pages = [first, ...rest];
          const next = pages.at(-1)?.next;
          const more = async () => setOlder({ path, pages: [...rest, await api.get<Page>(path, { after: next })] });
          return (
            <>
              <Table
                label={t.value.auditHint}
                columns={[
                  { id: "what", title: t.value.what, cell: (row: Row) => <strong class="mono">{row.action}</strong> },
                  { id: "when", title: t.value.when, cell: (row) => <Time at={row.at} /> },
                  { id: "who", title: t.value.who, cell: (row) => (row.actor_id ? nameOf(row.actor_id) : t.value.system) },
                  { id: "target", title: t.value.target, cell: (row) => targetOf(row, nameOf) },
                  { id: "details", title: t.value.details, cell: (row) => <span class="mono">{detailsOf(row)}</span>, wide: true },
                  { id: "from", title: t.value.from, cell: (row) => row.ip ?? "—", wide: true },
                ]}
                rows={pages.flatMap(({ rows }) => rows)}
                keyOf={(row) => row.id}
                empty={<EmptyState title={t.value.noAudit} icon="shield" />}
              />
              {next && (
                <span class="more-rows">
                  <Button onClick={() => void deed(more)}>{t.value.older}</Button>
                </span>
              )}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

function targetOf(row: Row, nameOf: (id: string) => string) {
  const name = nameOf(row.target);
  return name === row.target ? <span class="mono">{name}</span> : name;
}

function detailsOf({ details }: Row): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}
