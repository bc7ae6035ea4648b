import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { isPlainClick, go, hrefOf } from "../app/router";
import { Icon, type IconName } from "./Icon";

interface ButtonProps {
  children: ComponentChildren;
  icon?: IconName;
  kind?: "plain" | "primary" | "danger" | "ghost";
  type?: "button" | "submit";
  busy?: boolean;
  disabled?: boolean;
  title?: string;
  onClick?: (event: MouseEvent) => void;
}

/** A button with words. `busy` keeps its width and says so to assistive technology. */
export function Button({ children, icon, kind = "plain", type = "button", busy = false, disabled, title, onClick }: ButtonProps) {
  return (
    <button
      type={type}
      class={kind === "plain" ? "button" : `button ${kind}`}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      title={title}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface IconButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon" | "label" | "onClick"> {
  icon: IconName;
  label: string;
  disabled?: boolean;
  pressed?: boolean;
  onClick?: (event: MouseEvent) => void;
}

/** A button that is only an icon; `label` is its name and its tooltip. */
export function IconButton({ icon, label, pressed, class: more, ...rest }: IconButtonProps) {
  return (
    <button
      type="button"
      class={more ? `quiet ${String(more)}` : "quiet"}
      aria-label={label}
      aria-pressed={pressed}
      title={label}
      {...rest}
    >
      <Icon name={icon} />
    </button>
  );
}

interface LinkProps {
  to: string;
  class?: string;
  title?: string;
  "aria-current"?: "page" | undefined;
  children: ComponentChildren;
  onClick?: (event: MouseEvent) => void;
}

/** A link to another place of the app: followed without a reload, or by the browser in a new tab. */
export function Link({ to, children, onClick, ...rest }: LinkProps) {
  return (
    <a
      href={hrefOf(to)}
      {...rest}
      onClick={(event) => {
        onClick?.(event);
        if (event.defaultPrevented || !isPlainClick(event)) return;
        event.preventDefault();
        go(to);
      }}
    >
      {children}
    </a>
  );
}
