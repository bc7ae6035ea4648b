import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./Icon";

interface EmptyProps {
  title: string;
  hint?: ComponentChildren;
  icon?: IconName;
  children?: ComponentChildren;
}

/** What stands where nothing is yet: why, and what to do about it. */
export function EmptyState({ title, hint, icon, children }: EmptyProps) {
  return (
    <div class="empty">
      {icon && <Icon name={icon} />}
      <p class="empty-title">{title}</p>
      {hint && <p class="hint">{hint}</p>}
      {children && <div class="buttons">{children}</div>}
    </div>
  );
}
