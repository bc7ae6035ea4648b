import { useState } from "preact/hooks";
import { api, withQuery } from "../../app/api";
import { address, go } from "../../app/router";
import { may } from "../../app/session";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select, TextField } from "../../ui/Field";
import { formatNumber } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { Amount } from "../parts/Amount";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { type Key, orgPath, projectsOf, useNames } from "../parts/names";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { DAY_MS } from "./days";
import { inputOf, lasting, outputOf, stateOf, toneOf, type UsageRow } from "./usageRow";
import { t } from "./words";

interface Rows {
  rows: UsageRow[];
  next: string | null;
}

const FILTERS = ["model", "project", "key", "from", "until"] as const;

/** What was billed, newest first, limited by the filters in the address: a link shows what its sender saw. */
export function Billed({ org }: { org: string }) {
  const query = address.value.query;
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const asked = {
    order: "newest",
    model: filters["model"],
    project: filters["project"],
    key: filters["key"],
    start: momentOf(filters["from"]),
    end: momentOf(filters["until"], DAY_MS),
    limit: 50,
  };
  const page = (after?: string) => api.get<Rows>(`${orgPath(org)}/usage/requests`, { ...asked, after });
  const load = useLoad(() => page(), [org, query.toString()]);
  const [older, setOlder] = useState<{ of: Rows; pages: Rows[] } | null>(null);
  const pages = (first: Rows) => [first, ...(older?.of === first ? older.pages : [])];
  return (
    <div class="part">
      <Filters org={org} filters={filters} />
      <Loaded load={load}>
        {(first) => {
          const all = pages(first);
          const next = all.at(-1)?.next;
          const more = async () => {
            if (!next) return;
            const found = await page(next);
            setOlder({ of: first, pages: [...all.slice(1), found] });
          };
          return (
            <>
              <RequestTable org={org} rows={all.flatMap(({ rows }) => rows)} />
              {next && (
                <span class="more-rows">
                  <Button onClick={() => void deed(more)}>{t.value.older}</Button>
                </span>
              )}
            </>
          );
        }}
      </Loaded>
    </div>
  );
}

function momentOf(day: string | undefined, later = 0): number | null {
  const at = day ? Date.parse(`${day}T00:00:00Z`) : NaN;
  return Number.isNaN(at) ? null : at + later;
}

function Filters({ org, filters }: { org: string; filters: Record<string, string> }) {
  const { data } = useLoad(async () => {
    const [models, projects, keys] = await Promise.all([
      api.get<{ group: { model: string } }[]>(`${orgPath(org)}/usage`, { by: "model" }),
      projectsOf(org),
      may("keys.own") ? api.get<Key[]>(`${orgPath(org)}/keys`) : [],
    ]);
    return { models: models.map(({ group }) => group.model), projects, keys };
  }, [org]);
  const set = (name: string) => (value: string) => go(withQuery("console/requests", { ...filters, [name]: value }), { replace: true });
  const field = (name: string, label: string, any: string, options: [string, string][]) => {
    const chosen = filters[name] ?? "";
    const known = chosen === "" || options.some(([value]) => value === chosen);
    return (
      <Select
        label={label}
        value={chosen}
        options={[["", any], ...options, ...(known ? [] : ([[chosen, chosen]] as [string, string][]))]}
        onChange={set(name)}
      />
    );
  };
  return (
    <div class="controls">
      {field("model", t.value.model, t.value.anyModel, (data?.models ?? []).map((name) => [name, name]))}
      {field("project", t.value.project, t.value.anyProject, (data?.projects ?? []).map(({ id, name }) => [id, name]))}
      {field("key", t.value.key, t.value.anyKey, (data?.keys ?? []).map(({ id, name }) => [id, name]))}
      <TextField label={t.value.from} type="date" value={filters["from"] ?? ""} onInput={set("from")} />
      <TextField label={t.value.until} type="date" value={filters["until"] ?? ""} onInput={set("until")} />
      {Object.values(filters).some(Boolean) && (
        <Button kind="ghost" icon="close" onClick={() => go("console/requests", { replace: true })}>
          {t.value.clear}
        </Button>
      )}
    </div>
  );
}

function RequestTable({ org, rows }: { org: string; rows: UsageRow[] }) {
  const nameOf = useNames(org);
  const columns: Column<UsageRow>[] = [
    { id: "when", title: t.value.when, cell: (row) => <Time at={row.created_at} /> },
    { id: "model", title: t.value.model, cell: (row) => row.model },
    { id: "key", title: t.value.key, cell: (row) => nameOf(row.key_id), wide: true },
    { id: "status", title: t.value.status, cell: (row) => <Pill tone={toneOf(row)}>{stateOf(row)}</Pill> },
    {
      id: "tokens",
      title: t.value.tokens,
      cell: (row) => t.value.inOut(formatNumber(inputOf(row)), formatNumber(outputOf(row))),
      numeric: true,
    },
    { id: "duration", title: t.value.duration, cell: (row) => lasting(row.duration_ms), numeric: true, wide: true },
    { id: "cost", title: t.value.cost, cell: (row) => <Amount of={row.cost} />, numeric: true },
  ];
  return (
    <Table
      label={t.value.requests}
      columns={columns}
      rows={rows}
      keyOf={(row) => row.request_id}
      onOpen={(row) => go(`console/requests/${row.request_id}`)}
      empty={<EmptyState title={t.value.noRequests} hint={t.value.noRequestsHint} icon="list" />}
    />
  );
}
