import { prefer, type Preferences, preferences } from "../app/preferences";
import { t as shell } from "../app/words";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Choice, Field, TextArea } from "../ui/Field";
import { t } from "./words";

const HOTTEST = 2; // the OpenAI wire's range is [0, 2]

export function Settings({ close }: { close: () => void }) {
  const strings = t.value;
  const { system, theme, language, thinking } = preferences.value;
  const footer = (
    <>
      <p class="hint">{strings.settingsNote}</p>
      <Button kind="primary" onClick={close}>
        {shell.value.done}
      </Button>
    </>
  );
  return (
    <Dialog title={strings.settings} footer={footer} onClose={close}>
      <TextArea label={strings.systemPrompt} hint={strings.systemPromptHint} rows={2} value={system} onInput={(text) => prefer({ system: text })} />
      <Temperature />
      <MaxTokens />
      <Choice
        label={strings.thinking}
        hint={strings.thinkingHint}
        value={String(thinking)}
        options={[
          ["null", strings.modelsOwn],
          ["true", strings.on],
          ["false", strings.off],
        ]}
        onChange={(value) => prefer({ thinking: value === "null" ? null : value === "true" })}
      />
      <Choice
        label={shell.value.appearance}
        value={theme}
        options={[
          ["system", shell.value.system],
          ["light", shell.value.light],
          ["dark", shell.value.dark],
        ]}
        onChange={(value) => prefer({ theme: value as Preferences["theme"] })}
      />
      <Choice
        label={shell.value.language}
        value={language}
        options={[
          ["system", shell.value.system],
          ["en", "English"],
          ["zh", "中文"],
        ]}
        onChange={(value) => prefer({ language: value as Preferences["language"] })}
      />
    </Dialog>
  );
}

function Temperature() {
  const strings = t.value;
  const { temperature } = preferences.value;
  const extra = (
    <span class="value">
      {temperature === null ? (
        strings.modelsOwn
      ) : (
        <>
          <button type="button" class="link" onClick={() => prefer({ temperature: null })}>
            {strings.useModelsOwn}
          </button>
          <output for="temperature">{temperature.toFixed(1)}</output>
        </>
      )}
    </span>
  );
  return (
    <Field label={strings.temperature} hint={strings.temperatureHint} id="temperature" extra={extra}>
      <input
        id="temperature"
        type="range"
        min={0}
        max={HOTTEST}
        step={0.1}
        class={temperature === null ? "unset" : undefined}
        aria-describedby="temperature-hint"
        aria-valuetext={temperature === null ? strings.modelsOwn : temperature.toFixed(1)}
        value={temperature ?? HOTTEST / 2}
        onInput={(event) => prefer({ temperature: event.currentTarget.valueAsNumber })}
      />
    </Field>
  );
}

function MaxTokens() {
  const strings = t.value;
  return (
    <Field label={strings.maxTokens} hint={strings.maxTokensHint} id="max-tokens">
      <div class="input">
        <input
          id="max-tokens"
          type="number"
          inputMode="numeric"
          min={1}
          step={1}
          aria-describedby="max-tokens-hint"
          placeholder={strings.noLimit}
          value={preferences.value.maxTokens ?? ""}
          onInput={(event) => {
            const count = event.currentTarget.valueAsNumber;
            prefer({ maxTokens: Number.isInteger(count) && count > 0 ? count : null });
          }}
        />
      </div>
    </Field>
  );
}
