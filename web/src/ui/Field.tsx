/** Form fields with a label, a hint and an error that assistive technology finds. */

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { t } from "../app/words";
import { IconButton } from "./Button";

interface FrameProps {
  label: string;
  id: string;
  hint?: ComponentChildren;
  error?: string | null | undefined;
  extra?: ComponentChildren;
  children: ComponentChildren;
}

export function Field({ label, id, hint, error, extra, children }: FrameProps) {
  return (
    <div class={error ? "field wrong" : "field"}>
      <div class="field-head">
        <label for={id}>{label}</label>
        {extra}
      </div>
      {children}
      {hint && !error && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="hint error" id={`${id}-hint`} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

interface TextProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  hint?: ComponentChildren;
  error?: string | null;
  type?: "text" | "email" | "password" | "url" | "number" | "search" | "date";
  autoComplete?: string;
  autofocus?: boolean;
  required?: boolean;
  readOnly?: boolean;
  minLength?: number;
  maxLength?: number;
  min?: number | string;
  max?: number | string;
  step?: number | string;
  placeholder?: string;
  pattern?: string;
}

export function TextField({ label, value, onInput, hint, error, type = "text", ...rest }: TextProps) {
  const id = useId();
  const [shown, show] = useState(false);
  const secret = type === "password";
  return (
    <Field label={label} id={id} hint={hint} error={error}>
      <div class="input">
        <input
          id={id}
          value={value}
          aria-describedby={hint || error ? `${id}-hint` : undefined}
          aria-invalid={error ? true : undefined}
          onInput={(event) => onInput(event.currentTarget.value)}
          {...rest}
          type={(secret && shown ? "text" : type) as "text"}
        />
        {secret && (
          <IconButton
            icon={shown ? "hidden" : "visible"}
            label={shown ? t.value.hidePassword : t.value.showPassword}
            onClick={() => show(!shown)}
          />
        )}
      </div>
    </Field>
  );
}

interface AreaProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  hint?: ComponentChildren;
  error?: string | null;
  rows?: number;
  placeholder?: string;
  maxLength?: number;
  required?: boolean;
}

export function TextArea({ label, value, onInput, hint, error, rows = 4, ...rest }: AreaProps) {
  const id = useId();
  return (
    <Field label={label} id={id} hint={hint} error={error}>
      <textarea
        id={id}
        rows={rows}
        value={value}
        aria-describedby={hint || error ? `${id}-hint` : undefined}
        onInput={(event) => onInput(event.currentTarget.value)}
        {...rest}
      />
    </Field>
  );
}

interface SelectProps {
  label: string;
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  onChange: (value: string) => void;
  hint?: ComponentChildren;
}

export function Select({ label, value, options, onChange, hint }: SelectProps) {
  const id = useId();
  return (
    <Field label={label} id={id} hint={hint}>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([each, word]) => (
          <option key={each} value={each}>
            {word}
          </option>
        ))}
      </select>
    </Field>
  );
}

interface ToggleProps {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
  hint?: ComponentChildren;
  disabled?: boolean;
}

/** On or off, at once. */
export function Toggle({ label, checked, onChange, hint, disabled }: ToggleProps) {
  const id = useId();
  return (
    <div class="field toggle">
      <label>
        <span>
          <span class="toggle-label">{label}</span>
          {hint && (
            <span class="hint" id={`${id}-hint`}>
              {hint}
            </span>
          )}
        </span>
        <input
          type="checkbox"
          role="switch"
          checked={checked}
          disabled={disabled}
          aria-describedby={hint ? `${id}-hint` : undefined}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
        <i />
      </label>
    </div>
  );
}

interface ChoiceProps {
  label: string;
  hint?: ComponentChildren;
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  onChange: (value: string) => void;
}

/** A few exclusive words in a row: radio buttons that look like one switch. */
export function Choice({ label, hint, value, options, onChange }: ChoiceProps) {
  const name = useId();
  return (
    <fieldset class="field choice">
      <legend>{label}</legend>
      <div class="segments">
        {options.map(([each, word]) => (
          <label key={each}>
            <input type="radio" name={name} value={each} checked={each === value} onChange={() => onChange(each)} />
            <span>{word}</span>
          </label>
        ))}
      </div>
      {hint && <p class="hint">{hint}</p>}
    </fieldset>
  );
}
