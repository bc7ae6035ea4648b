import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { Chart } from "../../ui/Chart";
import { EmptyState } from "../../ui/EmptyState";
import { formatBytes, formatNumber, formatPercent, formatRate } from "../../ui/format";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { Loaded } from "../parts/Loaded";
import { Figure, Figures, Intro, Section } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { type Look, type Machine, outputRate, type Totals } from "./machine";
import { t } from "./words";

const EVERY_MS = 3000;
const LOOKS = 41; // two minutes
const LOW = 0.1;

export default function Health(_: PageProps) {
  const [looks, setLooks] = useState<Look[]>([]);
  const load = useLoad(
    async () => {
      const machine = await api.get<Machine>("api/console/platform/machine");
      setLooks((before) => [...before, { at: Date.now(), machine }].slice(-LOOKS));
      return machine;
    },
    [],
    EVERY_MS,
  );
  return (
    <>
      <Intro hint={t.value.machineHint} />
      <Loaded load={load}>
        {(machine) => (
          <>
            <Verdict machine={machine} />
            <State machine={machine} />
            <Section title={t.value.throughput} hint={t.value.throughputHint}>
              <Throughput models={machine.models} looks={looks} />
            </Section>
            <p class="hint">{t.value.metricsHint}</p>
          </>
        )}
      </Loaded>
    </>
  );
}

function Verdict({ machine }: { machine: Machine }) {
  const found: [string, string][] = [];
  if (machine.channels === 0) found.push([t.value.noChannels, t.value.noChannelsHint]);
  if (machine.channels_ill > 0) found.push([t.value.illChannels(machine.channels_ill), ""]);
  if (machine.disk_free < LOW * machine.disk_total) found.push([t.value.lowDisk, t.value.lowDiskHint]);
  if (machine.memory_free < LOW * machine.memory_total) found.push([t.value.lowMemory, t.value.lowMemoryHint]);
  if (found.length === 0) return <Pill tone="good">{t.value.healthy}</Pill>;
  return (
    <ul class="verdict">
      {found.map(([what, hint]) => (
        <li key={what} class="banner">
          <span>
            <strong>{what}</strong>
            {hint && <span class="detail">{hint}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}

function State({ machine }: { machine: Machine }) {
  const free = (part: number, whole: number) => t.value.freeOf(formatBytes(part), formatBytes(whole));
  return (
    <Figures>
      <Figure label={t.value.inFlight} hint={t.value.waiting(machine.waiting)}>
        {formatNumber(machine.in_flight)}
      </Figure>
      <Figure label={t.value.memory} hint={free(machine.memory_free, machine.memory_total)}>
        {formatPercent(1 - machine.memory_free / machine.memory_total)}
      </Figure>
      <Figure label={t.value.disk} hint={free(machine.disk_free, machine.disk_total)}>
        {formatPercent(1 - machine.disk_free / machine.disk_total)}
      </Figure>
      <Figure label={t.value.processors} hint={t.value.load(formatNumber(machine.load))}>
        {formatNumber(machine.processors)}
      </Figure>
      <Figure label={t.value.version} hint={`${machine.database === "sqlite" ? "SQLite" : "PostgreSQL"}, ${t.value.upFor(lasting(machine.up_s))}`}>
        {machine.version}
      </Figure>
    </Figures>
  );
}

function lasting(seconds: number): string {
  if (seconds < 2 * 3600) return t.value.minutes(Math.floor(seconds / 60));
  if (seconds < 2 * 86_400) return t.value.hours(Math.floor(seconds / 3600));
  return t.value.days(Math.floor(seconds / 86_400));
}

function Throughput({ models, looks }: { models: Totals[]; looks: Look[] }) {
  if (models.length === 0) return <EmptyState title={t.value.noTraffic} hint={t.value.noTrafficHint} icon="bolt" />;
  const steps = looks.slice(1).map((look, at) => [looks[at] ?? look, look] as const);
  const last = looks.at(-1)?.at ?? 0;
  const now = steps.at(-1);
  const number = (id: string, title: string, value: (row: Totals) => number) => ({
    id,
    title,
    value,
    cell: (row: Totals) => formatNumber(value(row)),
    numeric: true,
  });
  return (
    <>
      {steps.length > 1 && (
        <Chart
          title={t.value.outputRate}
          kind="lines"
          labels={steps.map(([, { at }]) => (at === last ? t.value.now : t.value.ago(Math.round((last - at) / 1000))))}
          series={models.map(({ model }) => ({ name: model, values: steps.map(([before, after]) => outputRate(before, after, model)) }))}
          format={formatRate}
          height={160}
        />
      )}
      <Table
        label={t.value.throughput}
        columns={[
          { id: "model", title: t.value.model, cell: (row: Totals) => <strong>{row.model}</strong>, value: (row) => row.model },
          {
            id: "rate",
            title: t.value.outputRate,
            cell: (row) => (now ? formatRate(outputRate(now[0], now[1], row.model)) : "—"),
            numeric: true,
          },
          number("answers", t.value.answers, (row) => row.answers),
          number("broken", t.value.broken, (row) => row.broken),
          number("input", t.value.input, (row) => row.input_uncached + row.cache_read),
          {
            id: "cache",
            title: t.value.cacheUse,
            cell: (row) => formatPercent(row.cache_read / Math.max(1, row.input_uncached + row.cache_read)),
            numeric: true,
          },
          number("output", t.value.output, (row) => row.output),
        ]}
        rows={models}
        keyOf={(row) => row.model}
      />
    </>
  );
}
