import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { useSend } from "../../app/useSend";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import { TextField } from "../../ui/Field";
import { AMOUNT_PATTERN } from "../parts/amount";
import { Section } from "../parts/Page";
import { SecretDialog } from "../parts/Secret";
import { PLATFORM } from "./models";
import { t } from "./words";

export function Codes() {
  const [amount, setAmount] = useState("");
  const [count, setCount] = useState("1");
  const [label, setLabel] = useState("");
  const { busy, failure, send } = useSend(async () => {
    const codes = await api.post<string[]>(`${PLATFORM}/codes`, { amount, count: Number(count), label });
    showDialog((close) => <SecretDialog title={t.value.codesMade} hint={t.value.codesMadeHint} secret={codes.join("\n")} onClose={close} />);
    setAmount("");
  });
  return (
    <Section title={t.value.codes} hint={t.value.codesText}>
      <FailureNote failure={failure} />
      <form class="controls" onSubmit={(event) => (event.preventDefault(), void send())}>
        <TextField label={t.value.amount} value={amount} onInput={setAmount} pattern={AMOUNT_PATTERN} placeholder="50" required />
        <TextField label={t.value.count} type="number" min={1} max={1000} value={count} onInput={setCount} required />
        <TextField label={t.value.label} value={label} onInput={setLabel} maxLength={100} />
        <Button type="submit" busy={busy}>
          {t.value.newCodes}
        </Button>
      </form>
    </Section>
  );
}
