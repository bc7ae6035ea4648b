/** A menu under a button: arrow keys, Home, End, Escape, and the first letters of an item. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./Icon";

export interface MenuItem {
  label: string;
  icon?: IconName;
  detail?: string;
  danger?: boolean;
  disabled?: boolean;
  /** Shown as chosen: the item is one of several to choose from. */
  checked?: boolean;
  run: () => void;
}

export type MenuEntry = MenuItem | "line" | { heading: string };

interface MenuProps {
  label: string;
  entries: () => MenuEntry[];
  children: ComponentChildren;
  class?: string;
  /** Where it opens: below its button, or above; aligned with its start or its end. */
  above?: boolean;
  end?: boolean;
}

export function Menu({ label, entries, children, class: look = "quiet", above, end }: MenuProps) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const close = (focus: boolean) => {
    setOpen(false);
    if (focus) button.current?.focus();
  };
  return (
    <span class="menu-place">
      <button
        ref={button}
        type="button"
        class={look}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={label}
        title={open ? undefined : label}
        onClick={() => setOpen(!open)}
        onKeyDown={(event) => {
          if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
          event.preventDefault();
          setOpen(true);
        }}
      >
        {children}
      </button>
      {open && <Items id={id} label={label} entries={entries()} above={above} end={end} anchor={button.current!} close={close} />}
    </span>
  );
}

interface ItemsProps {
  id: string;
  label: string;
  entries: MenuEntry[];
  above?: boolean | undefined;
  end?: boolean | undefined;
  anchor: HTMLElement;
  close: (focus: boolean) => void;
}

function Items({ id, label, entries, above, end, anchor, close }: ItemsProps) {
  const list = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    list.current!.showPopover(); // into the top layer: no box around it may cut it off
    place(list.current!, anchor, above ?? false, end ?? false);
    const chosen = list.current!.querySelector<HTMLElement>("[aria-checked=true]");
    (chosen ?? items(list.current!)[0])?.focus();
  }, []);
  useEffect(() => {
    const away = (event: Event) => {
      if (event.target instanceof Node && (list.current?.contains(event.target) || anchor.contains(event.target))) return;
      close(false);
    };
    addEventListener("pointerdown", away, true);
    addEventListener("resize", away);
    return () => {
      removeEventListener("pointerdown", away, true);
      removeEventListener("resize", away);
    };
  }, []);
  return (
    <div ref={list} id={id} class="menu" role="menu" popover="manual" aria-label={label} onKeyDown={(event) => onKey(event, list.current!, close)}>
      {entries.map((entry, at) => (
        <Entry key={at} entry={entry} close={close} />
      ))}
    </div>
  );
}

function Entry({ entry, close }: { entry: MenuEntry; close: (focus: boolean) => void }) {
  if (entry === "line") return <hr />;
  if ("heading" in entry) return <p class="menu-heading">{entry.heading}</p>;
  const { label, icon, detail, danger, disabled, checked, run } = entry;
  return (
    <button
      type="button"
      role={checked === undefined ? "menuitem" : "menuitemradio"}
      aria-checked={checked}
      class={danger ? "danger" : undefined}
      disabled={disabled}
      tabIndex={-1}
      onClick={() => {
        close(true);
        run();
      }}
    >
      {icon && <Icon name={icon} />}
      <span class="menu-label">
        {label}
        {detail && <small>{detail}</small>}
      </span>
      {checked && <Icon name="check" />}
    </button>
  );
}

const items = (list: HTMLElement) => [...list.querySelectorAll<HTMLButtonElement>("button:not(:disabled)")];

function onKey(event: KeyboardEvent, list: HTMLElement, close: (focus: boolean) => void): void {
  const all = items(list);
  const at = all.indexOf(document.activeElement as HTMLButtonElement);
  const to = (index: number) => all[(index + all.length) % all.length]?.focus();
  if (event.key === "ArrowDown") to(at + 1);
  else if (event.key === "ArrowUp") to(at - 1);
  else if (event.key === "Home") to(0);
  else if (event.key === "End") to(-1);
  else if (event.key === "Escape" || event.key === "Tab") close(event.key === "Escape");
  else if (event.key.length === 1 && event.key !== " ") {
    const begins = (button: HTMLElement) => button.innerText.toLowerCase().startsWith(event.key.toLowerCase());
    [...all.slice(at + 1), ...all.slice(0, at + 1)].find(begins)?.focus();
    return;
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

const GAP = 4; // px

/** On the screen whatever scrolls: fixed, beside its button, and never past an edge. */
function place(list: HTMLElement, anchor: HTMLElement, above: boolean, end: boolean): void {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const fitsBelow = at.bottom + GAP + height <= innerHeight;
  const goesUp = (above && at.top - GAP - height >= 0) || (!fitsBelow && at.top > innerHeight - at.bottom);
  const left = end ? at.right - width : at.left;
  list.style.left = `${Math.max(GAP, Math.min(left, innerWidth - width - GAP))}px`;
  list.style.top = `${goesUp ? Math.max(GAP, at.top - GAP - height) : at.bottom + GAP}px`;
  list.style.maxHeight = `${Math.max(120, goesUp ? at.top - 2 * GAP : innerHeight - at.bottom - 2 * GAP)}px`;
}
