import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";

interface TabsProps {
  label: string;
  tabs: readonly (readonly [id: string, label: string])[];
  chosen: string;
  onChoose: (id: string) => void;
  children: ComponentChildren;
}

/** Tabs over one panel; arrow keys go from tab to tab. */
export function Tabs({ label, tabs, chosen, onChoose, children }: TabsProps) {
  const id = useId();
  const row = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const at = tabs.findIndex(([each]) => each === chosen);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (!next) return;
    onChoose(next[0]);
    row.current?.querySelector<HTMLElement>(`[data-tab="${CSS.escape(next[0])}"]`)?.focus();
  };
  return (
    <>
      <div ref={row} class="tabs" role="tablist" aria-label={label} onKeyDown={onKeyDown}>
        {tabs.map(([each, word]) => (
          <button
            key={each}
            type="button"
            role="tab"
            data-tab={each}
            aria-selected={each === chosen}
            aria-controls={id}
            tabIndex={each === chosen ? 0 : -1}
            onClick={() => onChoose(each)}
          >
            {word}
          </button>
        ))}
      </div>
      <div id={id} role="tabpanel" class="tab-panel" aria-label={tabs.find(([each]) => each === chosen)?.[1]}>
        {children}
      </div>
    </>
  );
}
