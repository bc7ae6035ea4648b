import { useState } from "preact/hooks";
import { Tabs } from "../../ui/Tabs";
import type { PageProps } from "../pages";
import { Intro } from "../parts/Page";
import { Billed } from "./Billed";
import { Refused } from "./Refused";
import { RequestPage } from "./Request";
import { t } from "./words";

export default function Requests({ org, id }: PageProps) {
  const [tab, setTab] = useState("billed");
  if (id !== null) return <RequestPage org={org} id={id} />;
  return (
    <>
      <Intro hint={t.value.requestsHint} />
      <div>
        <Tabs
          label={t.value.requests}
          tabs={[
            ["billed", t.value.billed],
            ["refused", t.value.refused],
          ]}
          chosen={tab}
          onChoose={setTab}
        >
          {tab === "billed" ? <Billed org={org} /> : <Refused org={org} />}
        </Tabs>
      </div>
    </>
  );
}
