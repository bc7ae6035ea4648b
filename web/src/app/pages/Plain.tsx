/** Pages without a side bar: one column in the middle, under the mark. */

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { IconButton } from "../../ui/Button";
import { Mark } from "../../ui/Icon";
import { language, prefer, theme } from "../preferences";
import { go } from "../router";
import { t } from "../words";

interface PlainProps {
  title: string;
  hint?: ComponentChildren;
  children: ComponentChildren;
}

export function Plain({ title, hint, children }: PlainProps) {
  useEffect(() => {
    document.title = `${title} · OpenGLM`;
  }, [title]);
  const dark = theme.value === "dark";
  return (
    <div class="plain">
      <div class="plain-tools">
        <button
          type="button"
          class="quiet word"
          lang={language.value === "zh" ? "en" : "zh-CN"}
          aria-label={t.value.toOtherLanguage}
          onClick={() => prefer({ language: language.value === "zh" ? "en" : "zh" })}
        >
          {t.value.otherLanguage}
        </button>
        <IconButton
          icon={dark ? "sun" : "moon"}
          label={dark ? t.value.toLight : t.value.toDark}
          onClick={() => prefer({ theme: dark ? "light" : "dark" })}
        />
      </div>
      <main class="plain-column">
        <Mark />
        <h1>{title}</h1>
        {hint && <p class="plain-hint">{hint}</p>}
        {children}
      </main>
    </div>
  );
}

/** Nothing is known yet. Words only if it takes long: the style sheet brings them in after a moment. */
export function Waiting() {
  return (
    <div class="plain waiting-page" role="status" aria-label={t.value.loading}>
      <Mark />
    </div>
  );
}

export function NotFound() {
  return (
    <div class="plain">
      <main class="plain-column">
        <EmptyState title={t.value.notFound} hint={t.value.notFoundHint} icon="search">
          <Button kind="primary" onClick={() => go("")}>
            {t.value.toStart}
          </Button>
        </EmptyState>
      </main>
    </div>
  );
}
