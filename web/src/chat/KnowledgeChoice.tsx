import { useEffect, useState } from "preact/hooks";
import { user } from "../app/session";
import { failureOf, type Failure } from "../app/useSend";
import { IconButton, Link } from "../ui/Button";
import { FailureNote } from "../ui/FailureNote";
import { TextField } from "../ui/Field";
import { formatNumber } from "../ui/format";
import { Icon } from "../ui/Icon";
import { type KnowledgeBase, loadBases } from "./knowledge";
import { t } from "./words";
import "../style/choose.css";

const MANY = 8; // bases; among more than these one wants to search

interface ChoiceProps {
  chosen: readonly string[];
  onChange: (ids: string[]) => void;
  hint: string;
  most?: number;
  /** Bases that are drawn on anyway, and where that comes from. */
  given?: Readonly<Record<string, string>>;
  /** Without the word above it, which stands elsewhere. */
  bare?: boolean;
}

/** Which knowledge bases answers draw on. One that is gone says so, and can be taken out. */
export function KnowledgeChoice({ chosen, onChange, hint, most = 50, given = {}, bare }: ChoiceProps) {
  const strings = t.value;
  const [bases, setBases] = useState<KnowledgeBase[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [sought, seek] = useState("");
  useEffect(() => {
    loadBases().then(setBases, (error: unknown) => setFailure(failureOf(error)));
  }, []);
  const shown = bases?.filter(({ id, name }) => chosen.includes(id) || name.toLowerCase().includes(sought.trim().toLowerCase())) ?? [];
  const gone = bases ? chosen.filter((id) => !bases.some((base) => base.id === id)) : [];
  const without = (id: string) => chosen.filter((each) => each !== id);
  return (
    <fieldset class="field bases" onKeyDown={(event) => event.key === "Enter" && isSearch(event.target) && event.preventDefault()}>
      <legend class={bare ? "visually-hidden" : undefined}>{strings.knowledge}</legend>
      <p class="hint">{hint}</p>
      <FailureNote failure={failure} />
      {bases === null && !failure && <div class="loading small" role="status" aria-label={strings.loading} />}
      {bases && bases.length > MANY && <TextField type="search" label={strings.knowledgeFind} value={sought} onInput={seek} />}
      <ul>
        {shown.map((base) => (
          <li key={base.id}>
            <Base
              base={base}
              checked={chosen.includes(base.id) || base.id in given}
              disabled={!chosen.includes(base.id) && (chosen.length >= most || base.id in given)}
              from={given[base.id]}
              onChange={(checked) => onChange(checked ? [...chosen, base.id] : without(base.id))}
            />
          </li>
        ))}
        {gone.map((id) => (
          <li key={id} class="gone">
            <Icon name="warn" />
            <span>{strings.knowledgeGone}</span>
            <IconButton icon="close" label={strings.knowledgeTakeOut} onClick={() => onChange(without(id))} />
          </li>
        ))}
      </ul>
      {bases?.length === 0 && (
        <p class="nothing-here">
          {strings.knowledgeNone} {user.value && <Link to="console/knowledge">{strings.knowledgeMake}</Link>}
        </p>
      )}
    </fieldset>
  );
}

/** Enter in it must not send the form around it. */
const isSearch = (target: EventTarget | null) => target instanceof HTMLInputElement && target.type === "search";

interface BaseProps {
  base: KnowledgeBase;
  checked: boolean;
  disabled: boolean;
  from: string | undefined;
  onChange: (checked: boolean) => void;
}

function Base({ base: { name, description, documents }, checked, disabled, from, onChange }: BaseProps) {
  const facts = [from, t.value.knowledgeDocuments(documents, formatNumber(documents)), description];
  return (
    <label>
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        <strong>{name}</strong>
        <small>{facts.filter(Boolean).join(" · ")}</small>
      </span>
    </label>
  );
}
