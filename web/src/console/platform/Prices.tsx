import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { TextField } from "../../ui/Field";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { Amount } from "../parts/Amount";
import { AMOUNT_PATTERN } from "../parts/amount";
import { FormDialog } from "../parts/FormDialog";
import { Loaded } from "../parts/Loaded";
import { Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { PLATFORM } from "./models";
import { t } from "./words";

interface Price {
  model: string;
  version: number;
  input: string;
  cached_input: string;
  output: string;
  call: string;
  image: string;
  training: string | null;
  created_at: number;
}

export function Prices() {
  const load = useLoad(() => api.get<Price[]>(`${PLATFORM}/prices`), []);
  const open = (known: Price | null) => showDialog((close) => <PriceForm known={known} close={close} onDone={() => void load.again()} />);
  const money = (id: "input" | "cached_input" | "output" | "call" | "image", title: string, wide = false) => ({
    id,
    title,
    cell: (price: Price) => <Amount of={price[id]} />,
    numeric: true,
    wide,
  });
  return (
    <Section
      title={t.value.prices}
      hint={t.value.pricesText}
      action={
        <Button icon="plus" onClick={() => open(null)}>
          {t.value.newPrice}
        </Button>
      }
    >
      <Loaded load={load}>
        {(prices) => (
          <Table
            label={t.value.prices}
            columns={[
              {
                id: "model",
                title: t.value.priceModel,
                cell: (price: Price) => (
                  <>
                    <strong>{price.model === "*" ? `* ${t.value.anyOther}` : price.model}</strong>
                    <small>
                      {t.value.priceVersion(price.version)}, <Time at={price.created_at} />
                    </small>
                  </>
                ),
                value: (price) => price.model,
              },
              money("input", t.value.input),
              money("cached_input", t.value.cached),
              money("output", t.value.output),
              money("call", t.value.perCall, true),
              money("image", t.value.perImage, true),
              { id: "training", title: t.value.training, cell: (price) => (price.training === null ? "—" : <Amount of={price.training} />), numeric: true, wide: true },
              {
                id: "tools",
                title: "",
                cell: (price) => (
                  <span class="row-tools">
                    <IconButton icon="edit" label={`${t.value.newPrice}: ${price.model}`} onClick={() => open(price)} />
                  </span>
                ),
              },
            ]}
            rows={prices}
            keyOf={(price) => price.model}
            empty={<EmptyState title={t.value.noPrices} hint={t.value.noPricesHint} icon="wallet" />}
          />
        )}
      </Loaded>
    </Section>
  );
}

function PriceForm({ known, close, onDone }: { known: Price | null; close: () => void; onDone: () => void }) {
  const [model, setModel] = useState(known?.model ?? "");
  const [input, setInput] = useState(known?.input ?? "");
  const [cached, setCached] = useState(known?.cached_input ?? "");
  const [output, setOutput] = useState(known?.output ?? "");
  const [call, setCall] = useState(known?.call ?? "0");
  const [image, setImage] = useState(known?.image ?? "0");
  const [training, setTraining] = useState(known?.training ?? "");
  const send = async () => {
    await api.post(`${PLATFORM}/prices`, { model, input, output, cached_input: cached || null, call, image, training: training || null });
    onDone();
  };
  const field = (label: string, value: string, set: (text: string) => void, more: { hint?: string; required?: boolean } = {}) => (
    <TextField label={label} value={value} onInput={set} pattern={AMOUNT_PATTERN} {...more} />
  );
  return (
    <FormDialog title={t.value.newPrice} action={t.value.setPrice} send={send} onClose={close}>
      <TextField label={t.value.priceModel} value={model} onInput={setModel} hint={t.value.priceModelHint} readOnly={known !== null} required autofocus={known === null} />
      {field(t.value.input, input, setInput, { required: true })}
      {field(t.value.cached, cached, setCached, { hint: t.value.cachedHint })}
      {field(t.value.output, output, setOutput, { required: true })}
      {field(t.value.perCall, call, setCall, { required: true })}
      {field(t.value.perImage, image, setImage, { required: true })}
      {field(t.value.training, training, setTraining, { hint: t.value.trainingHint })}
    </FormDialog>
  );
}
