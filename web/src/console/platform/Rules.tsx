import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Choice, TextField } from "../../ui/Field";
import { formatNumber } from "../../ui/format";
import { Table } from "../../ui/Table";
import { deed } from "../parts/deed";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { PLATFORM } from "./models";
import { t } from "./words";

interface Rule {
  id: string;
  tier: string;
  model: string;
  subject: string;
  concurrency: number | null;
  rpm: number | null;
  tpm: number | null;
}

const LIMITS = `${PLATFORM}/limits`;

export function Rules() {
  const load = useLoad(() => api.get<Rule[]>(LIMITS), []);
  const again = () => void load.again();
  const remove = (rule: Rule) => void deed(() => api.delete(`${LIMITS}/${rule.id}`)).then(again);
  const count = (value: number | null) => (value === null ? "—" : formatNumber(value));
  return (
    <Section
      title={t.value.rates}
      hint={t.value.ratesText}
      action={
        <Button icon="plus" onClick={() => showDialog((close) => <RuleForm close={close} onDone={again} />)}>
          {t.value.newRule}
        </Button>
      }
    >
      <Loaded load={load}>
        {(rules) => (
          <Table
            label={t.value.rates}
            columns={[
              { id: "tier", title: t.value.tier, cell: (rule: Rule) => rule.tier, value: (rule) => rule.tier },
              { id: "model", title: t.value.ruleModel, cell: (rule) => rule.model, value: (rule) => rule.model },
              { id: "subject", title: t.value.subject, cell: (rule) => t.value.subjects[rule.subject] ?? rule.subject },
              { id: "concurrency", title: t.value.concurrency, cell: (rule) => count(rule.concurrency), numeric: true },
              { id: "rpm", title: t.value.rpm, cell: (rule) => count(rule.rpm), numeric: true },
              { id: "tpm", title: t.value.tpm, cell: (rule) => count(rule.tpm), numeric: true },
              {
                id: "tools",
                title: "",
                cell: (rule) => (
                  <span class="row-tools">
                    <IconButton icon="trash" label={`${t.value.removeRule}: ${rule.tier} ${rule.model}`} onClick={() => remove(rule)} />
                  </span>
                ),
              },
            ]}
            rows={rules}
            keyOf={(rule) => rule.id}
            empty={<EmptyState title={t.value.noRules} hint={t.value.noRulesHint} icon="bolt" />}
          />
        )}
      </Loaded>
    </Section>
  );
}

function RuleForm({ close, onDone }: { close: () => void; onDone: () => void }) {
  const [tier, setTier] = useState("*");
  const [model, setModel] = useState("*");
  const [subject, setSubject] = useState("org");
  const [concurrency, setConcurrency] = useState("");
  const [rpm, setRpm] = useState("");
  const [tpm, setTpm] = useState("");
  const whole = (text: string) => (text ? Number(text) : null);
  const send = async () => {
    await api.put(LIMITS, { tier, model, subject, concurrency: whole(concurrency), rpm: whole(rpm), tpm: whole(tpm) });
    onDone();
  };
  return (
    <FormDialog title={t.value.newRule} action={t.value.setRule} send={send} onClose={close}>
      <TextField label={t.value.tier} value={tier} onInput={setTier} hint={t.value.anyTier} required />
      <TextField label={t.value.ruleModel} value={model} onInput={setModel} hint={t.value.anyModel} required />
      <Choice label={t.value.subject} value={subject} options={Object.entries(t.value.subjects)} onChange={setSubject} />
      <TextField label={t.value.concurrency} type="number" min={1} value={concurrency} onInput={setConcurrency} hint={t.value.noBound} />
      <TextField label={t.value.rpm} type="number" min={1} value={rpm} onInput={setRpm} hint={t.value.noBound} />
      <TextField label={t.value.tpm} type="number" min={1} value={tpm} onInput={setTpm} hint={t.value.noBound} />
    </FormDialog>
  );
}
