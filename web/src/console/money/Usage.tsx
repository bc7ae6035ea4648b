import { useState } from "preact/hooks";
import { api, withQuery } from "../../app/api";
import { go, hrefOf } from "../../app/router";
import { Button } from "../../ui/Button";
import { Chart } from "../../ui/Chart";
import { EmptyState } from "../../ui/EmptyState";
import { Choice, Select } from "../../ui/Field";
import { formatCompact, formatNano, formatNumber, formatPercent } from "../../ui/format";
import { Icon } from "../../ui/Icon";
import { type Column, Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { Amount } from "../parts/Amount";
import { currency } from "../parts/amount";
import { Loaded } from "../parts/Loaded";
import { orgPath, useNames } from "../parts/names";
import { Figure, Figures, Intro } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { DAY_MS, dayLabel, dayText, lastDays } from "./days";
import { inputOf, type Measure, measured, seriesOf, type Sum, totalOf, totalsOf } from "./sums";
import { t } from "./words";

type By = keyof typeof t.value.groups;
const PERIODS = ["7", "30", "90"];
const MEASURES: Measure[] = ["cost", "requests", "tokens"];

export default function Usage({ org }: PageProps) {
  const [period, setPeriod] = useState("30");
  const [by, setBy] = useState<By>("model");
  const [measure, setMeasure] = useState<Measure>("cost");
  const nameOf = useNames(org);
  const days = lastDays(Number(period));
  const start = days[0] ?? 0;
  const load = useLoad(
    () => api.get<Sum[]>(`${orgPath(org)}/usage?by=day&by=${by}`, { start, end: start + days.length * DAY_MS }),
    [org, by, period],
  );
  return (
    <>
      <Intro hint={t.value.usageHint}>
        <a class="button" href={hrefOf(withQuery(`${orgPath(org)}/usage/csv`, { start }))} download>
          <Icon name="download" />
          {t.value.csv}
        </a>
      </Intro>
      <div class="controls">
        <Choice
          label={t.value.period}
          value={period}
          options={PERIODS.map((each) => [each, t.value.days(Number(each))])}
          onChange={setPeriod}
        />
        <Choice
          label={t.value.measure}
          value={measure}
          options={MEASURES.map((each) => [each, t.value.measures[each]])}
          onChange={(value) => setMeasure(value as Measure)}
        />
        <Select
          label={t.value.groupBy}
          value={by}
          options={Object.entries(t.value.groups)}
          onChange={(value) => setBy(value as By)}
        />
      </div>
      <Loaded load={load}>{(sums) => <Shown {...{ sums, days, by, measure, nameOf }} />}</Loaded>
    </>
  );
}

interface ShownProps {
  sums: Sum[];
  days: number[];
  by: By;
  measure: Measure;
  nameOf: (id: string | null) => string;
}

function Shown({ sums, days, by, measure, nameOf }: ShownProps) {
  const whole = totalOf(sums);
  if (whole === null) {
    return (
      <EmptyState title={t.value.noUsage} hint={t.value.noUsageHint} icon="chart">
        <Button kind="primary" onClick={() => go("console/playground")}>
          {t.value.openPlayground}
        </Button>
      </EmptyState>
    );
  }
  const input = inputOf(whole);
  const format = measure === "cost" ? (nano: number) => formatNano(nano, currency()) : formatCompact;
  const first = days[0] ?? 0;
  return (
    <>
      <Figures>
        <Figure label={t.value.cost}>
          <Amount of={whole.cost} />
        </Figure>
        <Figure label={t.value.requests}>{formatNumber(whole.requests)}</Figure>
        <Figure label={t.value.inputTokens} hint={input > 0 && whole.cache_read > 0 && t.value.cacheShare(formatPercent(whole.cache_read / input))}>
          {formatNumber(input)}
        </Figure>
        <Figure label={t.value.outputTokens}>{formatNumber(whole.output)}</Figure>
        {whole.credits > 0 && <Figure label={t.value.credits}>{formatNumber(whole.credits)}</Figure>}
      </Figures>
      <Chart
        title={t.value.perDay[measure]}
        labels={days.map(dayLabel)}
        series={seriesOf(sums, days, { by, measure, nameOf, others: t.value.others })}
        format={format}
        onPick={(at) => openRequests({ from: dayText(days[at] ?? first), until: dayText(days[at] ?? first) })}
      />
      <Table
        label={t.value.groups[by]}
        columns={columnsOf(by, nameOf)}
        rows={totalsOf(sums, by, measure)}
        keyOf={(sum) => String(sum.group[by])}
        {...(by !== "user" && by !== "kind" && { onOpen: (sum: Sum) => openRequests({ [by]: sum.group[by], from: dayText(first) }) })}
      />
    </>
  );
}

function openRequests(filters: Record<string, string | number | null | undefined>): void {
  go(withQuery("console/requests", filters));
}

function columnsOf(by: By, nameOf: (id: string | null) => string): Column<Sum>[] {
  const named = (sum: Sum) => nameOf(sum.group[by] === null ? null : String(sum.group[by]));
  const number = (id: string, title: string, value: (sum: Sum) => number): Column<Sum> => ({
    id,
    title,
    value,
    cell: (sum) => formatNumber(value(sum)),
    numeric: true,
  });
  return [
    { id: "group", title: t.value.groups[by], cell: named, value: named },
    number("requests", t.value.requests, (sum) => sum.requests),
    number("input", t.value.inputTokens, inputOf),
    number("cached", t.value.cachedTokens, (sum) => sum.cache_read),
    number("output", t.value.outputTokens, (sum) => sum.output),
    {
      id: "cost",
      title: t.value.cost,
      cell: (sum) => <Amount of={sum.cost} />,
      value: (sum) => measured(sum, "cost"),
      numeric: true,
    },
  ];
}
