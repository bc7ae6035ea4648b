import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { hrefOf } from "../../app/router";
import { may } from "../../app/session";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select } from "../../ui/Field";
import { formatDate, formatNumber, locale } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { Amount } from "../parts/Amount";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { Figure, Figures, Intro } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Line {
  model: string;
  kind: string;
  is_batch: boolean;
  requests: number;
  input_uncached: number;
  cache_read: number;
  output: number;
  cost: string;
}

interface Bill {
  id: string | null;
  month: string;
  lines: Line[];
  plans: string;
  total: string;
  issued_at: number | null;
}

const SHOWN = 12; // months back; older ones are there if they were issued

export default function Invoices({ org }: PageProps) {
  const months = lastMonths(SHOWN);
  const [month, setMonth] = useState(months[0] ?? "");
  const issued = useLoad(() => api.get<Bill[]>(`${orgPath(org)}/invoices`), [org]);
  const load = useLoad(() => api.get<Bill>(`${orgPath(org)}/invoices/${month}`), [org, month]);
  const all = [...new Set([...months, ...(issued.data ?? []).map((bill) => bill.month)])].sort().reverse();
  const isOver = month < (months[0] ?? "");
  const close = async () => {
    const sure = await confirmed({ title: `${t.value.issue}: ${monthName(month)}`, text: t.value.issueText, action: t.value.issue });
    if (!sure || !(await deed(() => api.post(`${orgPath(org)}/invoices/${month}`)))) return;
    await load.again();
  };
  return (
    <>
      <Intro hint={t.value.invoicesHint}>
        <a class="button" href={hrefOf(`${orgPath(org)}/invoices/${month}/csv`)} download={`invoice-${month}.csv`}>
          <Icon name="download" />
          {t.value.csv}
        </a>
        {isOver && load.data?.id === null && may("billing.write") && (
          <Button kind="primary" onClick={() => void close()}>
            {t.value.issue}
          </Button>
        )}
      </Intro>
      <div class="controls">
        <Select label={t.value.month} value={month} options={all.map((each) => [each, monthName(each)])} onChange={setMonth} />
      </div>
      <Loaded load={load}>{(bill) => <Invoice bill={bill} />}</Loaded>
    </>
  );
}

function Invoice({ bill }: { bill: Bill }) {
  const number = (value: number) => formatNumber(value);
  return (
    <>
      <Figures>
        <Figure label={t.value.total}>
          <Amount of={bill.total} />
        </Figure>
        <Figure label={t.value.plansCost}>
          <Amount of={bill.plans} />
        </Figure>
        <Figure label={t.value.status} hint={bill.id ? <span class="mono">{bill.id}</span> : null}>
          <Pill tone={bill.id ? "good" : "calm"}>{bill.issued_at === null ? t.value.draft : `${t.value.issued} ${formatDate(bill.issued_at)}`}</Pill>
        </Figure>
      </Figures>
      <Table
        label={monthName(bill.month)}
        columns={[
          {
            id: "model",
            title: t.value.model,
            cell: (line: Line) => (
              <>
                {line.model}
                <small>{line.is_batch ? `${line.kind} · ${t.value.batchMark}` : line.kind}</small>
              </>
            ),
            value: (line) => line.model,
          },
          { id: "requests", title: t.value.requests, cell: (line) => number(line.requests), value: (line) => line.requests, numeric: true },
          { id: "input", title: t.value.inputTokens, cell: (line) => number(line.input_uncached), value: (line) => line.input_uncached, numeric: true },
          { id: "cached", title: t.value.cachedTokens, cell: (line) => number(line.cache_read), value: (line) => line.cache_read, numeric: true },
          { id: "output", title: t.value.outputTokens, cell: (line) => number(line.output), value: (line) => line.output, numeric: true },
          { id: "cost", title: t.value.cost, cell: (line) => <Amount of={line.cost} />, numeric: true },
        ]}
        rows={bill.lines}
        keyOf={(line) => `${line.model} ${line.kind} ${line.is_batch}`}
        empty={<EmptyState title={t.value.noLines} hint={t.value.noLinesHint} icon="file" />}
      />
    </>
  );
}

/** This month and those before it, in UTC as invoices are made: "2026-11". */
function lastMonths(count: number, now = new Date()): string[] {
  return Array.from({ length: count }, (_, back) =>
    new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1)).toISOString().slice(0, 7),
  );
}

function monthName(month: string): string {
  return new Intl.DateTimeFormat(locale(), { year: "numeric", month: "long", timeZone: "UTC" }).format(Date.parse(`${month}-01T00:00:00Z`));
}
