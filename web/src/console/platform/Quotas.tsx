import { useState } from "preact/hooks";
import { api, withQuery } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { Button } from "../../ui/Button";
import { Select, TextField } from "../../ui/Field";
import { formatBytes, formatNumber } from "../../ui/format";
import { Table } from "../../ui/Table";
import { t as money } from "../money/words";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { PLATFORM } from "./models";
import { t } from "./words";

interface Limit {
  holder: string;
  name: string;
  most: number | null;
}

interface Bound {
  name: string;
  what: string;
  default: number | null;
  limits: Limit[];
}

const QUOTAS = `${PLATFORM}/quotas`;
const nameOf = ({ name, what }: Bound) => money.value.quotaNames[name] ?? what;

function shown(name: string, value: number | null): string {
  if (value === null) return t.value.unbounded;
  return name.endsWith("_bytes") ? formatBytes(value) : formatNumber(value);
}

export function Quotas() {
  const load = useLoad(() => api.get<Bound[]>(QUOTAS), []);
  const again = () => void load.again();
  const remove = ({ name, holder }: Limit) => void deed(() => api.delete(withQuery(QUOTAS, { name, holder }))).then(again);
  return (
    <Section
      title={t.value.quotas}
      hint={t.value.quotasText}
      action={
        load.data && (
          <Button icon="plus" onClick={() => showDialog((close) => <QuotaForm bounds={load.data ?? []} close={close} onDone={again} />)}>
            {t.value.setQuota}
          </Button>
        )
      }
    >
      <Loaded load={load}>
        {(bounds) => (
          <Table
            label={t.value.quotas}
            columns={[
              { id: "name", title: t.value.quota, cell: (bound: Bound) => nameOf(bound) },
              { id: "default", title: t.value.byDefault, cell: (bound) => shown(bound.name, bound.default), numeric: true },
              {
                id: "set",
                title: t.value.wasSet,
                cell: ({ limits }) => (
                  <span class="buttons">
                    {limits.map((limit) => (
                      <Button key={limit.holder} icon="close" title={t.value.removeQuota(limit.holder)} onClick={() => remove(limit)}>
                        {`${limit.holder}: ${shown(limit.name, limit.most)}`}
                      </Button>
                    ))}
                  </span>
                ),
              },
            ]}
            rows={bounds}
            keyOf={(bound) => bound.name}
          />
        )}
      </Loaded>
    </Section>
  );
}

function QuotaForm({ bounds, close, onDone }: { bounds: Bound[]; close: () => void; onDone: () => void }) {
  const [name, setName] = useState(bounds[0]?.name ?? "");
  const [most, setMost] = useState("");
  const [holder, setHolder] = useState("*");
  const send = async () => {
    await api.put(QUOTAS, { name, most: most ? Number(most) : null, holder });
    onDone();
  };
  return (
    <FormDialog title={t.value.setQuota} action={t.value.setQuota} send={send} onClose={close}>
      <Select label={t.value.quota} value={name} options={bounds.map((bound) => [bound.name, nameOf(bound)])} onChange={setName} />
      <TextField label={t.value.most} type="number" min={0} value={most} onInput={setMost} hint={t.value.mostHint} />
      <TextField label={t.value.holder} value={holder} onInput={setHolder} hint={t.value.holderHint} required />
    </FormDialog>
  );
}
