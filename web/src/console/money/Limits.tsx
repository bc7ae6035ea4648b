import { api } from "../../app/api";
import { may } from "../../app/session";
import { EmptyState } from "../../ui/EmptyState";
import { formatBytes, formatCompact, formatNumber } from "../../ui/format";
import { Meter } from "../../ui/Meter";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { Intro, Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { Budgets } from "./Budgets";
import { t } from "./words";

interface Rule {
  id: string;
  tier: string;
  model: string;
  subject: "org" | "key";
  concurrency: number | null;
  rpm: number | null;
  tpm: number | null;
}

interface Quota {
  name: string;
  used: number;
  limit: number | null;
}

export default function Limits({ org }: PageProps) {
  const rules = useLoad(() => api.get<Rule[]>(`${orgPath(org)}/limits`), [org]);
  const quotas = useLoad(() => api.get<Quota[]>(`${orgPath(org)}/quotas`), [org]);
  const count = (value: number | null) => (value === null ? "—" : formatNumber(value));
  return (
    <>
      <Intro hint={t.value.limitsHint} />
      {may("billing.read") && <Budgets org={org} />}
      <Section title={t.value.rates} hint={t.value.ratesHint}>
        <Loaded load={rules}>
          {(rows) => (
            <Table
              label={t.value.rates}
              columns={[
                { id: "model", title: t.value.model, cell: (rule: Rule) => (rule.model === "*" ? t.value.allModels : rule.model) },
                { id: "subject", title: t.value.subject, cell: (rule) => t.value.subjects[rule.subject] },
                { id: "concurrency", title: t.value.concurrency, cell: (rule) => count(rule.concurrency), numeric: true },
                { id: "rpm", title: t.value.rpm, cell: (rule) => count(rule.rpm), numeric: true },
                { id: "tpm", title: t.value.tpm, cell: (rule) => count(rule.tpm), numeric: true },
              ]}
              rows={rows}
              keyOf={(rule) => rule.id}
              empty={<EmptyState title={t.value.noRates} hint={t.value.noRatesHint} icon="bolt" />}
            />
          )}
        </Loaded>
      </Section>
      <Section title={t.value.quotas}>
        <Loaded load={quotas}>
          {(rows) => (
            <ul class="cards">
              {rows.map((quota) => (
                <li key={quota.name} class="card">
                  <QuotaMeter quota={quota} />
                </li>
              ))}
            </ul>
          )}
        </Loaded>
      </Section>
    </>
  );
}

const MILLION = 1_000_000;

function QuotaMeter({ quota: { name, used, limit } }: { quota: Quota }) {
  const shown = name.endsWith("_bytes") ? formatBytes : (count: number) => (count < MILLION ? formatNumber(count) : formatCompact(count));
  const text = limit === null ? t.value.unbounded(shown(used)) : t.value.quotaOf(shown(used), shown(limit));
  return <Meter label={t.value.quotaNames[name] ?? name} used={used} limit={limit ?? 0} text={text} />;
}
