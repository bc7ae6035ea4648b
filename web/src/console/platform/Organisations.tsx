import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { Button } from "../../ui/Button";
import { Select, TextField } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { notify } from "../../ui/notice";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { AMOUNT_PATTERN } from "../parts/amount";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { newOnce } from "../parts/once";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { PLATFORM } from "./models";
import { t } from "./words";

interface Org {
  id: string;
  name: string;
  tier: string;
  is_disabled: boolean;
  created_at: number;
}

const ORGS = `${PLATFORM}/organisations`;
const PAGE = 100;

export function Organisations() {
  const load = useLoad(() => api.get<Org[]>(ORGS), []);
  const [rest, setRest] = useState<Org[]>([]);
  const again = () => {
    setRest([]);
    void load.again();
  };
  return (
    <Loaded load={load}>
      {(first) => {
        const orgs = [...first, ...rest];
        const more = async () => setRest([...rest, ...(await api.get<Org[]>(ORGS, { after: orgs.at(-1)?.id }))]);
        return (
          <div class="part">
            <OrgTable orgs={orgs} onChange={again} />
            {orgs.length % PAGE === 0 && (
              <span class="more-rows">
                <Button onClick={() => void deed(more)}>{t.value.olderRows}</Button>
              </span>
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

function OrgTable({ orgs, onChange }: { orgs: Org[]; onChange: () => void }) {
  const entries = (org: Org): MenuEntry[] => [
    { label: t.value.topUp, icon: "wallet", run: () => void showDialog((close) => <TopUp org={org} close={close} />) },
    { label: t.value.givePlan, icon: "bolt", run: () => void showDialog((close) => <GivePlan org={org} close={close} />) },
    { label: t.value.setTier, icon: "sliders", run: () => void showDialog((close) => <Tier org={org} close={close} onDone={onChange} />) },
    {
      label: org.is_disabled ? t.value.startOrg : t.value.stopOrg,
      icon: "stop",
      run: () => void deed(() => api.patch(`${ORGS}/${org.id}`, { is_disabled: !org.is_disabled })).then(onChange),
    },
  ];
  return (
    <Table
      label={t.value.organisations}
      columns={[
        {
          id: "name",
          title: t.value.name,
          cell: (org: Org) => (
            <>
              <strong>{org.name}</strong>
              <small class="mono">{org.id}</small>
            </>
          ),
          value: (org) => org.name,
        },
        { id: "tier", title: t.value.tier, cell: (org) => org.tier, value: (org) => org.tier },
        { id: "state", title: t.value.state, cell: (org) => <Pill tone={org.is_disabled ? "bad" : "good"}>{org.is_disabled ? t.value.disabled : t.value.active}</Pill> },
        { id: "since", title: t.value.since, cell: (org) => <Time at={org.created_at} />, value: (org) => org.created_at },
        {
          id: "tools",
          title: "",
          cell: (org) => (
            <span class="row-tools">
              <Menu label={t.value.more(org.name)} entries={() => entries(org)} end>
                <Icon name="more" />
              </Menu>
            </span>
          ),
        },
      ]}
      rows={orgs}
      keyOf={(org) => org.id}
    />
  );
}

function TopUp({ org, close }: { org: Org; close: () => void }) {
  const [amount, setAmount] = useState("");
  const [memo, setMemo] = useState("");
  const [once] = useState(newOnce);
  const send = async () => {
    await api.post(`${ORGS}/${org.id}/top-up`, { amount, memo, once });
    notify(t.value.booked);
  };
  return (
    <FormDialog title={`${t.value.topUp}: ${org.name}`} action={t.value.book} send={send} onClose={close}>
      <TextField label={t.value.amount} value={amount} onInput={setAmount} pattern={AMOUNT_PATTERN} hint={t.value.topUpHint} required autofocus />
      <TextField label={t.value.memo} value={memo} onInput={setMemo} maxLength={500} />
    </FormDialog>
  );
}

function GivePlan({ org, close }: { org: Org; close: () => void }) {
  const plans = useLoad(() => api.get<{ name: string; title: string }[]>("api/console/plans"), []);
  const [plan, setPlan] = useState("");
  const [months, setMonths] = useState("1");
  const [once] = useState(newOnce);
  const send = async () => {
    await api.post(`${ORGS}/${org.id}/subscriptions`, { plan: plan || plans.data?.[0]?.name, months: Number(months), once });
    notify(t.value.given);
  };
  return (
    <FormDialog title={`${t.value.givePlan}: ${org.name}`} action={t.value.givePlan} send={send} onClose={close}>
      <Loaded load={plans}>
        {(all) =>
          all.length === 0 ? (
            <p>{t.value.noPlans}</p>
          ) : (
            <Select label={t.value.plan} value={plan || (all[0]?.name ?? "")} options={all.map(({ name, title }) => [name, title || name])} onChange={setPlan} />
          )
        }
      </Loaded>
      <TextField label={t.value.months} type="number" min={1} max={120} value={months} onInput={setMonths} required />
    </FormDialog>
  );
}

function Tier({ org, close, onDone }: { org: Org; close: () => void; onDone: () => void }) {
  const [tier, setTier] = useState(org.tier);
  const send = async () => {
    await api.patch(`${ORGS}/${org.id}`, { tier });
    onDone();
  };
  return (
    <FormDialog title={`${t.value.setTier}: ${org.name}`} action={t.value.setTier} send={send} onClose={close}>
      <TextField label={t.value.tier} value={tier} onInput={setTier} hint={t.value.tierHint} required autofocus />
    </FormDialog>
  );
}
