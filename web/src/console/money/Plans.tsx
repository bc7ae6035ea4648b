import { api } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { may } from "../../app/session";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { formatAge, formatDate, formatNumber } from "../../ui/format";
import { Meter } from "../../ui/Meter";
import { notify } from "../../ui/notice";
import type { PageProps } from "../pages";
import { amount } from "../parts/amount";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath, useNames } from "../parts/names";
import { newOnce } from "../parts/once";
import { Intro, Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Subscription {
  id: string;
  user_id: string | null;
  plan: string;
  starts_at_ms: number;
  ends_at_ms: number;
}

interface Window {
  period: string;
  limit: number;
  used: number;
  held: number;
  resets_at_ms: number | null;
}

interface Offer {
  name: string;
  title: string;
  price: string;
  credits: Record<string, number>;
  models: string[];
}

interface Standing {
  subscriptions: Subscription[];
  meters: Window[];
}

export default function Plans({ org }: PageProps) {
  const standing = useLoad(() => api.get<Standing>(`${orgPath(org)}/plan`), [org]);
  const offers = useLoad(() => api.get<Offer[]>("api/console/plans"), []);
  const titleOf = (name: string) => offers.data?.find((offer) => offer.name === name)?.title || name;
  return (
    <>
      <Intro hint={t.value.plansHint} />
      <Section title={t.value.yourPlan}>
        <Loaded load={standing}>{(found) => <Running org={org} standing={found} titleOf={titleOf} onChange={() => void standing.again()} />}</Loaded>
      </Section>
      <Section title={t.value.offers}>
        <Loaded load={offers}>{(found) => <Offers org={org} offers={found} onChange={() => void standing.again()} />}</Loaded>
      </Section>
    </>
  );
}

interface RunningProps {
  org: string;
  standing: Standing;
  titleOf: (name: string) => string;
  onChange: () => void;
}

function Running({ org, standing, titleOf, onChange }: RunningProps) {
  const nameOf = useNames(org);
  const running = standing.subscriptions.filter((one) => one.ends_at_ms > Date.now()); // one that was ended is told of for a while
  if (running.length === 0) return <EmptyState title={t.value.noPlan} hint={t.value.noPlanHint} icon="bolt" />;
  const end = async (subscription: Subscription) => {
    const sure = await confirmed({ title: t.value.endPlan, text: t.value.endPlanText, action: t.value.endPlan, danger: true });
    if (sure && (await deed(() => api.delete(`${orgPath(org)}/subscriptions/${subscription.id}`)))) onChange();
  };
  return (
    <div class="halves">
      {running.map((one) => (
        <div key={one.id} class="box">
          <h3>{titleOf(one.plan)}</h3>
          <p class="hint">
            {one.user_id ? t.value.forOne(nameOf(one.user_id)) : t.value.forEverybody}, {t.value.validUntil(formatDate(one.ends_at_ms))}
          </p>
          {may("billing.write") && <Button onClick={() => void end(one)}>{t.value.endPlan}</Button>}
        </div>
      ))}
      {standing.meters.length > 0 && (
        <div class="box">
          {standing.meters.map(({ period, used, held, limit, resets_at_ms: resets }) => (
            <Meter
              key={period}
              label={t.value.windows[period] ?? period}
              used={used + held}
              limit={limit}
              text={t.value.creditsOf(formatNumber(used), formatNumber(limit))}
              hint={resets === null ? t.value.fullWindow : t.value.resets(formatAge(resets))}
            />
          ))}
        </div>
      )}
    </div>
  );
}

function Offers({ org, offers, onChange }: { org: string; offers: Offer[]; onChange: () => void }) {
  if (offers.length === 0) return <EmptyState title={t.value.noOffers} hint={t.value.noOffersHint} icon="bolt" />;
  const subscribe = async (offer: Offer) => {
    const { free } = await api.get<{ free: string }>(`${orgPath(org)}/wallet`);
    const text = t.value.subscribeText(amount(offer.price), amount(free));
    if (!(await confirmed({ title: offer.title || offer.name, text, action: t.value.subscribe }))) return;
    await api.post(`${orgPath(org)}/subscriptions`, { plan: offer.name, once: newOnce() });
    notify(t.value.subscribed);
    onChange();
  };
  return (
    <ul class="cards">
      {offers.map((offer) => {
        const isFree = offer.price === "0";
        return (
          <li key={offer.name} class="card">
            <strong>{offer.title || offer.name}</strong>
            <span>{isFree ? t.value.byOperator : t.value.aMonth(amount(offer.price))}</span>
            {Object.entries(offer.credits).map(([period, credits]) => (
              <span key={period} class="faint">
                {t.value.creditsEach(formatNumber(credits), t.value.windows[period] ?? period)}
              </span>
            ))}
            <footer>
              <span class="hint" title={offer.models.join(", ")}>
                {offer.models.includes("*") ? t.value.everyModel : t.value.modelCount(offer.models.length)}
              </span>
              {!isFree && may("billing.write") && <Button onClick={() => void deed(() => subscribe(offer))}>{t.value.subscribe}</Button>}
            </footer>
          </li>
        );
      })}
    </ul>
  );
}
