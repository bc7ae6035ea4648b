import { useState } from "preact/hooks";
import { Tabs } from "../../ui/Tabs";
import type { PageProps } from "../pages";
import { Intro } from "../parts/Page";
import { Organisations } from "./Organisations";
import { Users } from "./Users";
import { t } from "./words";

export default function People(_: PageProps) {
  const [tab, setTab] = useState("users");
  return (
    <>
      <Intro hint={t.value.peopleHint} />
      <div>
        <Tabs
          label={t.value.peopleHint}
          tabs={[
            ["users", t.value.users],
            ["organisations", t.value.organisations],
          ]}
          chosen={tab}
          onChoose={setTab}
        >
          {tab === "users" ? <Users /> : <Organisations />}
        </Tabs>
      </div>
    </>
  );
}
