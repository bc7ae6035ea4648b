import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { may } from "../../app/session";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select, TextField } from "../../ui/Field";
import { formatAge } from "../../ui/format";
import { Meter } from "../../ui/Meter";
import { AMOUNT_PATTERN, amount, nanoOf } from "../parts/amount";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { type Key, type Member, orgPath, projectsOf, useNames } from "../parts/names";
import { Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Budget {
  id: string;
  scope: Scope;
  target_id: string;
  period: string;
  limit: string;
  spent: string;
  held: string;
  resets_at: number | null;
}

type Scope = "org" | "project" | "key" | "user";

export function Budgets({ org }: { org: string }) {
  const load = useLoad(() => api.get<Budget[]>(`${orgPath(org)}/budgets`), [org]);
  const nameOf = useNames(org);
  const mayPay = may("billing.write");
  const add = () => showDialog((close) => <NewBudget org={org} close={close} onDone={() => void load.again()} />);
  const remove = async (budget: Budget) => {
    const sure = await confirmed({ title: t.value.removeBudget, text: titleOf(budget, nameOf), action: t.value.removeBudget, danger: true });
    if (sure && (await deed(() => api.delete(`${orgPath(org)}/budgets/${budget.id}`)))) await load.again();
  };
  return (
    <Section
      title={t.value.budgets}
      hint={t.value.budgetsHint}
      action={
        mayPay && (
          <Button icon="plus" onClick={add}>
            {t.value.newBudget}
          </Button>
        )
      }
    >
      <Loaded load={load}>
        {(budgets) =>
          budgets.length === 0 ? (
            <EmptyState title={t.value.noBudgets} hint={t.value.noBudgetsHint} icon="wallet" />
          ) : (
            <ul class="cards">
              {budgets.map((budget) => (
                <li key={budget.id} class="card">
                  <Meter
                    label={titleOf(budget, nameOf)}
                    used={Number(nanoOf(budget.spent) + nanoOf(budget.held))}
                    limit={Number(nanoOf(budget.limit))}
                    text={t.value.spentOf(amount(budget.spent), amount(budget.limit))}
                  />
                  <footer>
                    <span class="hint">{budget.resets_at === null ? t.value.neverResets : t.value.resets(formatAge(budget.resets_at))}</span>
                    {mayPay && <IconButton icon="trash" label={t.value.removeBudget} onClick={() => void remove(budget)} />}
                  </footer>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Section>
  );
}

function titleOf(budget: Budget, nameOf: (id: string) => string): string {
  const whose = budget.scope === "org" ? t.value.scopes.org : nameOf(budget.target_id);
  return `${whose} · ${t.value.periods[budget.period] ?? budget.period}`;
}

function NewBudget({ org, close, onDone }: { org: string; close: () => void; onDone: () => void }) {
  const [scope, setScope] = useState<Scope>("org");
  const [target, setTarget] = useState("");
  const [period, setPeriod] = useState("month");
  const [limit, setLimit] = useState("");
  const targets = useLoad(() => targetsOf(org, scope), [org, scope]);
  const chosen = scope === "org" ? org : target || (targets.data?.[0]?.[0] ?? "");
  const send = async () => {
    await api.put(`${orgPath(org)}/budgets`, { scope, target_id: chosen, period, limit });
    onDone();
  };
  return (
    <FormDialog title={t.value.newBudget} action={t.value.setBudget} send={send} onClose={close}>
      <Select
        label={t.value.whose}
        value={scope}
        options={Object.entries(t.value.scopes)}
        onChange={(value) => {
          setScope(value as Scope);
          setTarget("");
        }}
      />
      {scope !== "org" && targets.data && <Select label={t.value.scopes[scope]} value={chosen} options={targets.data} onChange={setTarget} />}
      <TextField label={t.value.budgetLimit} value={limit} onInput={setLimit} pattern={AMOUNT_PATTERN} placeholder="50" required />
      <Select label={t.value.each} value={period} options={Object.entries(t.value.periods)} onChange={setPeriod} />
    </FormDialog>
  );
}

async function targetsOf(org: string, scope: Scope): Promise<[string, string][]> {
  if (scope === "project") return (await projectsOf(org)).filter((one) => !one.is_archived).map(({ id, name }) => [id, name]);
  if (scope === "key" && may("keys.own")) {
    const keys = await api.get<Key[]>(`${orgPath(org)}/keys`);
    return keys.filter((key) => key.revoked_at === null).map(({ id, name }) => [id, name]);
  }
  if (scope === "user") return (await api.get<Member[]>(`${orgPath(org)}/members`)).map(({ user_id, name }) => [user_id, name]);
  return [];
}
