import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { may } from "../../app/session";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { Select, TextField } from "../../ui/Field";
import { notify } from "../../ui/notice";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { Amount } from "../parts/Amount";
import { AMOUNT_PATTERN } from "../parts/amount";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { newOnce } from "../parts/once";
import { Figure, Figures, Intro, Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Money {
  balance: string;
  held: string;
  debt: string;
  free: string;
}

interface Line {
  kind: string;
  amount: string;
  memo: string;
  created_at: number;
}

export default function Wallet({ org }: PageProps) {
  const money = useLoad(() => api.get<Money>(`${orgPath(org)}/wallet`), [org]);
  const lines = useLoad(() => api.get<Line[]>(`${orgPath(org)}/wallet/statement`), [org]);
  const changed = () => {
    void money.again();
    void lines.again();
  };
  return (
    <>
      <Intro hint={t.value.walletHint} />
      <Loaded load={money}>
        {({ free, balance, held, debt }) => (
          <Figures>
            <Figure label={t.value.free}>
              <Amount of={free} />
            </Figure>
            <Figure label={t.value.balance}>
              <Amount of={balance} />
            </Figure>
            <Figure label={t.value.held}>
              <Amount of={held} />
            </Figure>
            {debt !== "0" && (
              <Figure label={t.value.debt}>
                <Amount of={`-${debt}`} />
              </Figure>
            )}
          </Figures>
        )}
      </Loaded>
      {may("billing.write") && (
        <div class="halves">
          <Redeem org={org} onDone={changed} />
          <TopUp org={org} />
        </div>
      )}
      <Section title={t.value.statement}>
        <Loaded load={lines}>{(rows) => <Statement org={org} first={rows} />}</Loaded>
      </Section>
    </>
  );
}

function Redeem({ org, onDone }: { org: string; onDone: () => void }) {
  const [code, setCode] = useState("");
  const { busy, failure, send } = useSend(async () => {
    await api.post(`${orgPath(org)}/wallet/redeem`, { code: code.trim() });
    setCode("");
    notify(t.value.redeemed);
    onDone();
  });
  return (
    <form class="box" onSubmit={(event) => (event.preventDefault(), void send())}>
      <h2>{t.value.redeem}</h2>
      <FailureNote failure={failure} />
      <TextField label={t.value.code} value={code} onInput={setCode} hint={t.value.redeemHint} required autoComplete="off" />
      <Button type="submit" busy={busy}>
        {t.value.redeem}
      </Button>
    </form>
  );
}

interface Order {
  id: string;
  pay_url: string | null;
}

function TopUp({ org }: { org: string }) {
  const adapters = useLoad(() => api.get<string[]>(`${orgPath(org)}/wallet/adapters`), [org]);
  const [amount, setAmount] = useState("");
  const [adapter, setAdapter] = useState("");
  const [once, setOnce] = useState(newOnce);
  const [order, setOrder] = useState<Order | null>(null);
  const { busy, failure, send } = useSend(async () => {
    const chosen = adapter || adapters.data?.[0];
    setOrder(await api.post<Order>(`${orgPath(org)}/wallet/orders`, { amount, adapter: chosen, once }));
    setOnce(newOnce());
  });
  return (
    <form class="box" onSubmit={(event) => (event.preventDefault(), void send())}>
      <h2>{t.value.topUp}</h2>
      <FailureNote failure={failure} />
      <Loaded load={adapters}>
        {(names) =>
          names.length === 0 ? (
            <p class="hint">{t.value.noAdapters}</p>
          ) : (
            <>
              <TextField label={t.value.amount} value={amount} onInput={setAmount} hint={t.value.topUpHint} pattern={AMOUNT_PATTERN} placeholder="100" required />
              {names.length > 1 && (
                <Select
                  label={t.value.payWith}
                  value={adapter || (names[0] ?? "")}
                  options={names.map((name) => [name, t.value.adapters[name] ?? name])}
                  onChange={setAdapter}
                />
              )}
              <Button type="submit" busy={busy}>
                {t.value.order}
              </Button>
            </>
          )
        }
      </Loaded>
      {order && (
        <p role="status">
          {t.value.ordered(order.id)}{" "}
          {order.pay_url && (
            <a href={order.pay_url} rel="noreferrer">
              {t.value.pay}
            </a>
          )}
        </p>
      )}
    </form>
  );
}

const PAGE = 100;

function Statement({ org, first }: { org: string; first: Line[] }) {
  const [older, setOlder] = useState<Line[]>([]);
  const [ended, setEnded] = useState(false);
  const rows = [...first, ...older];
  const more = async () => {
    const found = await api.get<Line[]>(`${orgPath(org)}/wallet/statement`, { before: rows.at(-1)?.created_at });
    setOlder([...older, ...found]);
    setEnded(found.length < PAGE);
  };
  return (
    <>
      <Table
        label={t.value.statement}
        columns={[
          { id: "when", title: t.value.when, cell: (row: Line) => <Time at={row.created_at} /> },
          { id: "kind", title: t.value.groups.kind, cell: (row) => t.value.kinds[row.kind] ?? row.kind },
          { id: "memo", title: t.value.memo, cell: (row) => row.memo },
          { id: "amount", title: t.value.amount, cell: (row) => <Amount of={row.amount} />, numeric: true },
        ]}
        rows={rows}
        keyOf={(row) => `${row.created_at} ${row.kind} ${row.memo} ${row.amount}`}
        empty={<EmptyState title={t.value.noStatement} hint={t.value.noStatementHint} icon="wallet" />}
      />
      {first.length === PAGE && !ended && (
        <span class="more-rows">
          <Button onClick={() => void deed(more)}>{t.value.older}</Button>
        </span>
      )}
    </>
  );
}
