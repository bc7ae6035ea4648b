import { useState } from "preact/hooks";
import { ApiError, api } from "../../app/api";
import { may } from "../../app/session";
import { EmptyState } from "../../ui/EmptyState";
import { formatNumber, formatTime } from "../../ui/format";
import { Amount } from "../parts/Amount";
import { decimalOf } from "../parts/amount";
import { Code } from "../parts/Code";
import { Loaded } from "../parts/Loaded";
import { orgPath, useNames } from "../parts/names";
import { BackTo, Facts, Section } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import type { Logged } from "./Refused";
import { lasting, stateOf, toneOf, type UsageRow } from "./usageRow";
import { t } from "./words";

interface Whole {
  request: Logged;
  asked: string | null;
  answered: string | null;
}

/** One request: what it used, how its price came about, and its bodies where the project keeps them. */
export function RequestPage({ org, id }: { org: string; id: string }) {
  const [billed, setBilled] = useState(false);
  const load = useLoad(
    async () => {
      const [usage, logged] = await Promise.all([
        api.get<{ rows: UsageRow[] }>(`${orgPath(org)}/usage/requests`, { request_id: id }),
        may("data.write") ? api.get<Whole>(`${orgPath(org)}/requests/${encodeURIComponent(id)}`).catch(unlessMissing) : null,
      ]);
      setBilled(usage.rows.length > 0);
      return { rows: usage.rows, logged };
    },
    [org, id],
    billed ? null : 2000, // the bill is written behind the answer
  );
  const nameOf = useNames(org);
  return (
    <>
      <BackTo to="console/requests">{t.value.allRequests}</BackTo>
      <Loaded load={load}>
        {({ rows, logged }) =>
          rows.length === 0 && logged === null ? (
            <EmptyState title={t.value.unknownRequest} hint={t.value.unknownRequestHint} icon="search" />
          ) : (
            <>
              {rows.map((row) => (
                <Bill key={row.model + row.kind} row={row} nameOf={nameOf} />
              ))}
              {logged && <Bodies whole={logged} />}
            </>
          )
        }
      </Loaded>
    </>
  );
}

function unlessMissing(error: unknown): null {
  if (error instanceof ApiError && error.status === 404) return null;
  throw error;
}

function Bill({ row, nameOf }: { row: UsageRow; nameOf: (id: string | null) => string }) {
  const count = (value: number) => formatNumber(value);
  const tokens: [string, number][] = [
    [t.value.uncached, row.input_uncached],
    [t.value.cacheRead, row.cache_read],
    [t.value.cacheWrite, row.cache_write],
    [t.value.outputText, row.output_text],
    [t.value.outputReasoning, row.output_reasoning],
    [t.value.images, row.images],
  ];
  return (
    <>
      <Facts
        rows={[
          [t.value.requestId, <span class="mono">{row.request_id}</span>],
          [t.value.when, formatTime(row.created_at)],
          [t.value.model, row.model],
          [t.value.status, <Pill tone={toneOf(row)}>{stateOf(row)}</Pill>],
          [t.value.project, nameOf(row.project_id)],
          [t.value.key, nameOf(row.key_id)],
          ...(row.user_id ? [[t.value.member, nameOf(row.user_id)] as const] : []),
          [t.value.dialect, `${row.dialect} · ${row.endpoint}`],
          ...tokens.filter(([, value]) => value > 0).map(([name, value]) => [name, count(value)] as const),
          [t.value.firstToken, lasting(row.ttft_ms)],
          [t.value.duration, lasting(row.duration_ms)],
          ...(row.is_batch ? [[t.value.batch, t.value.yes] as const] : []),
          ...(row.estimated ? [[t.value.estimated, t.value.estimatedHint] as const] : []),
        ]}
      />
      <Section title={t.value.arithmetic} hint={t.value.arithmeticHint}>
        {row.arithmetic ? <Code text={row.arithmetic} label={t.value.arithmetic} /> : <p class="hint">{t.value.noArithmetic}</p>}
        <Facts
          rows={[
            [t.value.cost, <Amount of={row.cost} />],
            ...(row.credits ? [[t.value.credits, count(row.credits)] as const] : []),
            [t.value.payer, row.is_plan ? t.value.byPlan : t.value.byWallet],
            ...(row.balance_nano === null || row.is_plan
              ? []
              : [[t.value.balanceAfter, <Amount of={decimalOf(BigInt(row.balance_nano))} />] as const]),
          ]}
        />
      </Section>
    </>
  );
}

function Bodies({ whole: { request, asked, answered } }: { whole: Whole }) {
  return (
    <>
      <Facts
        rows={[
          [t.value.path, <span class="mono">{request.path}</span>],
          [t.value.status, <Pill tone={request.status < 400 ? "good" : "bad"}>{String(request.status)}</Pill>],
          [t.value.reason, request.message ?? t.value.noReason],
          [t.value.when, formatTime(request.at)],
        ]}
      />
      {(asked !== null || answered !== null) && (
        <p class="hint">
          {t.value.keptHint} {request.is_cut && t.value.cutHint}
        </p>
      )}
      {asked !== null && (
        <Section title={t.value.asked}>
          <Code text={laidOut(asked)} label={t.value.asked} />
        </Section>
      )}
      {answered !== null && (
        <Section title={t.value.answered}>
          <Code text={laidOut(answered)} label={t.value.answered} />
        </Section>
      )}
    </>
  );
}

/** JSON with its lines; anything else as it is. */
function laidOut(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
