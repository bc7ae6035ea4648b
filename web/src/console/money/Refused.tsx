import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { go } from "../../app/router";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { type Column, Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { lasting } from "./usageRow";
import { t } from "./words";

export interface Logged {
  request_id: string;
  project_id: string;
  key_id: string;
  path: string;
  model: string | null;
  status: number;
  failure: string | null;
  message: string | null;
  duration_ms: number;
  is_cut: boolean;
  at: number;
}

const PAGE = 50;

/** Requests that were refused, and those whose bodies a project keeps. */
export function Refused({ org }: { org: string }) {
  const page = (before?: string) => api.get<Logged[]>(`${orgPath(org)}/requests`, { before, limit: PAGE });
  const load = useLoad(() => page(), [org]);
  const [older, setOlder] = useState<Logged[]>([]);
  const [ended, setEnded] = useState(false);
  return (
    <Loaded load={load}>
      {(first) => {
        const rows = [...first, ...older];
        const last = rows.at(-1);
        const more = async () => {
          const found = await page(last?.request_id);
          setOlder([...older, ...found]);
          setEnded(found.length < PAGE);
        };
        return (
          <div class="part">
            <Table
              label={t.value.refused}
              columns={columns()}
              rows={rows}
              keyOf={(row) => row.request_id}
              onOpen={(row) => go(`console/requests/${row.request_id}`)}
              empty={<EmptyState title={t.value.noRefusals} hint={t.value.noRefusalsHint} icon="shield" />}
            />
            {first.length === PAGE && !ended && (
              <span class="more-rows">
                <Button onClick={() => void deed(more)}>{t.value.older}</Button>
              </span>
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

function columns(): Column<Logged>[] {
  return [
    { id: "when", title: t.value.when, cell: (row) => <Time at={row.at} /> },
    { id: "path", title: t.value.path, cell: (row) => <span class="mono">{row.path}</span> },
    { id: "model", title: t.value.model, cell: (row) => row.model ?? "—" },
    {
      id: "status",
      title: t.value.status,
      cell: (row) => <Pill tone={row.status < 400 ? "good" : "bad"}>{String(row.status)}</Pill>,
    },
    { id: "reason", title: t.value.reason, cell: (row) => row.message ?? row.failure ?? t.value.noReason },
    { id: "duration", title: t.value.duration, cell: (row) => lasting(row.duration_ms), numeric: true, wide: true },
  ];
}
