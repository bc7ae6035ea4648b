import { api } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { go } from "../../app/router";
import { may } from "../../app/session";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { amount } from "../parts/amount";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { Intro } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Price {
  input: string;
  cached_input: string;
  output: string;
  call: string;
  image: string;
  batch_percent: number;
  training: string | null;
}

export interface Offer {
  name: string;
  title: string;
  price: Price | null;
}

export const offersOf = (org: string) => api.get<Offer[]>(`${orgPath(org)}/models`);

/** The models that one may call, with their prices. */
export default function Offers({ org }: PageProps) {
  const load = useLoad(() => offersOf(org), [org]);
  const remove = async (name: string) => {
    const sure = await confirmed({ title: `${t.value.deleteModel}: ${name}`, text: t.value.deleteModelText, action: t.value.deleteModel, danger: true });
    if (sure && (await deed(() => api.delete(`${orgPath(org)}/models/${name}`)))) await load.again();
  };
  const price = (offer: Offer, part: "input" | "cached_input" | "output") => (offer.price ? amount(offer.price[part]) : "—");
  return (
    <>
      <Intro hint={t.value.offersHint} />
      <Loaded load={load}>
        {(offers) => (
          <Table
            label={t.value.models}
            columns={[
              {
                id: "name",
                title: t.value.model,
                cell: (offer: Offer) => (
                  <>
                    <strong>{offer.title || offer.name}</strong>
                    {offer.title && offer.title !== offer.name && <small class="mono">{offer.name}</small>}
                  </>
                ),
                value: (offer) => offer.name,
              },
              { id: "input", title: t.value.inputPrice, cell: (offer) => price(offer, "input"), numeric: true },
              { id: "cached", title: t.value.cachedPrice, cell: (offer) => price(offer, "cached_input"), numeric: true },
              { id: "output", title: t.value.outputPrice, cell: (offer) => price(offer, "output"), numeric: true },
              { id: "other", title: t.value.otherPrices, cell: otherPrices },
              {
                id: "tools",
                title: "",
                cell: (offer) => (
                  <span class="row-tools">
                    {may("keys.own") && <Button onClick={() => go(`console/playground?model=${encodeURIComponent(offer.name)}`)}>{t.value.tryIt}</Button>}
                    {offer.name.startsWith("ft:") && may("models.write") && (
                      <IconButton icon="trash" label={`${t.value.deleteModel}: ${offer.name}`} onClick={() => void remove(offer.name)} />
                    )}
                  </span>
                ),
              },
            ]}
            rows={offers}
            keyOf={(offer) => offer.name}
            empty={<EmptyState title={t.value.noModels} hint={t.value.noModelsHint} icon="box" />}
          />
        )}
      </Loaded>
    </>
  );
}

function otherPrices({ price }: Offer): string {
  if (!price) return t.value.noPrice;
  return [
    price.call !== "0" && t.value.perCall(amount(price.call)),
    price.image !== "0" && t.value.perImage(amount(price.image)),
    price.training !== null && price.training !== "0" && t.value.perTraining(amount(price.training)),
    price.batch_percent !== 100 && t.value.batchAt(price.batch_percent),
  ]
    .filter(Boolean)
    .join(", ");
}
