import type { PageProps } from "../pages";
import { Intro } from "../parts/Page";
import { Codes } from "./Codes";
import { Prices } from "./Prices";
import { Quotas } from "./Quotas";
import { Rules } from "./Rules";
import { t } from "./words";

export default function Pricing(_: PageProps) {
  return (
    <>
      <Intro hint={t.value.pricesHint} />
      <Prices />
      <Rules />
      <Quotas />
      <Codes />
    </>
  );
}
