import { api } from "../app/api";
import { go } from "../app/router";
import { may, organisation } from "../app/session";
import { Link } from "../ui/Button";
import { Chart } from "../ui/Chart";
import { formatCompact, formatNano, formatNumber } from "../ui/format";
import { Icon, type IconName } from "../ui/Icon";
import { DAY_MS, dayLabel, dayText, lastDays } from "./money/days";
import { inputOf, measured, type Sum, totalOf } from "./money/sums";
import { type PageProps, pages } from "./pages";
import { Amount } from "./parts/Amount";
import { currency } from "./parts/amount";
import { Loaded } from "./parts/Loaded";
import { type Key, orgPath } from "./parts/names";
import { Figure, Figures, Section } from "./parts/Page";
import { useLoad } from "./parts/useLoad";
import { t } from "./words";

const DAYS = 30;

interface Glance {
  sums: Sum[];
  free: string | null;
  keys: Key[] | null;
  models: number;
}

async function glance(org: string, start: number): Promise<Glance> {
  const path = orgPath(org);
  const [sums, wallet, keys, models] = await Promise.all([
    api.get<Sum[]>(`${path}/usage`, { by: "day", start }),
    may("billing.read") ? api.get<{ free: string }>(`${path}/wallet`) : null,
    may("keys.own") ? api.get<Key[]>(`${path}/keys`) : null,
    api.get<unknown[]>(`${path}/models`),
  ]);
  const live = keys?.filter((key) => key.revoked_at === null && (key.expires_at ?? Infinity) > Date.now());
  return { sums, free: wallet?.free ?? null, keys: live ?? null, models: models.length };
}

/** The start of the console: what was used, what is left, and what to do first. */
export default function Overview({ org }: PageProps) {
  const days = lastDays(DAYS);
  const load = useLoad(() => glance(org, days[0] ?? 0), [org]);
  const here = organisation.value;
  return (
    <>
      <p class="page-hint">{here && t.value.yourRole(t.value.roles[here.role] ?? here.role, here.name)}</p>
      <Loaded load={load}>
        {(found) => (
          <>
            <Now found={found} today={days.at(-1) ?? 0} />
            {found.sums.length === 0 ? <Begin found={found} /> : <Trend sums={found.sums} days={days} />}
          </>
        )}
      </Loaded>
      <Section title={t.value.more}>
        <AllPages />
      </Section>
    </>
  );
}

function Now({ found: { sums, free, keys, models }, today }: { found: Glance; today: number }) {
  const whole = totalOf(sums);
  const day = sums.find(({ group }) => group["day"] === today);
  const lately = keys?.filter((key) => (key.last_used_at ?? 0) > Date.now() - 7 * DAY_MS).length ?? 0;
  return (
    <Figures>
      <Figure label={t.value.lastDays}>
        <Amount of={whole?.cost ?? "0"} brief />
      </Figure>
      <Figure label={t.value.today} hint={t.value.tokensToday(formatCompact(day ? inputOf(day) + day.output : 0))}>
        {formatNumber(day?.requests ?? 0)}
      </Figure>
      {free !== null && (
        <Figure label={t.value.free}>
          <Link to="console/wallet">
            <Amount of={free} brief />
          </Link>
        </Figure>
      )}
      {keys !== null && (
        <Figure label={t.value.keysInUse} hint={t.value.usedLately(lately)}>
          <Link to="console/keys">{formatNumber(keys.length)}</Link>
        </Figure>
      )}
      <Figure label={t.value.modelsToCall}>
        <Link to="console/offers">{formatNumber(models)}</Link>
      </Figure>
    </Figures>
  );
}

/** Cost by day; where nothing costs anything, requests by day. */
function Trend({ sums, days }: { sums: Sum[]; days: number[] }) {
  const isFree = sums.every(({ cost }) => cost === "0");
  const measure = isFree ? "requests" : "cost";
  const title = isFree ? t.value.requestsPerDay : t.value.costPerDay;
  const values = days.map((day) => {
    const sum = sums.find(({ group }) => group["day"] === day);
    return sum ? measured(sum, measure) : 0;
  });
  const pick = (at: number) => {
    const day = dayText(days[at] ?? 0);
    go(`console/requests?from=${day}&until=${day}`);
  };
  return (
    <Chart
      title={title}
      labels={days.map(dayLabel)}
      series={[{ name: isFree ? t.value.requests : t.value.cost, values }]}
      onPick={pick}
      {...(!isFree && { format: (nano: number) => formatNano(nano, currency()) })}
    />
  );
}

type Step = keyof typeof t.value.beginSteps;

function Begin({ found }: { found: Glance }) {
  const steps: [Step, string, IconName, boolean][] = [
    ["model", "models", "box", may("operator") && found.models === 0],
    ["key", "keys", "key", may("keys.own") && found.keys?.length === 0],
    ["try", "playground", "play", may("keys.own") && found.models > 0],
    ["invite", "members", "users", may("members.write")],
  ];
  const open = steps.filter(([, , , wanted]) => wanted);
  if (open.length === 0) return null;
  return (
    <Section title={t.value.begin}>
      <ul class="cards">
        {open.map(([step, path, icon]) => (
          <li key={step}>
            <Link to={`console/${path}`} class="card">
              <Icon name={icon} />
              <strong>{t.value.beginSteps[step]}</strong>
              <span class="hint">{t.value.beginHints[step]}</span>
            </Link>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function AllPages() {
  const others = pages.filter(({ path, permission }) => path !== "" && (permission === null || may(permission)));
  return (
    <ul class="cards small">
      {others.map(({ path, title, icon }) => (
        <li key={path}>
          <Link to={`console/${path}`} class="card row">
            <Icon name={icon} />
            {t.value.pages[title]}
          </Link>
        </li>
      ))}
    </ul>
  );
}
