import type { ComponentChildren } from "preact";
import { Link } from "../../ui/Button";
import { Icon } from "../../ui/Icon";

interface IntroProps {
  hint?: ComponentChildren;
  children?: ComponentChildren;
}

/** The head of a page: what it is for, and what can be done there. */
export function Intro({ hint, children }: IntroProps) {
  return (
    <div class="page-head">
      <p>{hint}</p>
      {children && <div class="buttons">{children}</div>}
    </div>
  );
}

interface SectionProps {
  title: string;
  hint?: ComponentChildren;
  action?: ComponentChildren;
  children: ComponentChildren;
}

export function Section({ title, hint, action, children }: SectionProps) {
  return (
    <section class="part">
      <header>
        <div>
          <h2>{title}</h2>
          {hint && <p class="hint">{hint}</p>}
        </div>
        {action}
      </header>
      {children}
    </section>
  );
}

/** The way back to the list that a page came from. */
export function BackTo({ to, children }: { to: string; children: ComponentChildren }) {
  return (
    <Link to={to} class="back">
      <Icon name="left" />
      {children}
    </Link>
  );
}

/** A few numbers side by side. */
export function Figures({ children }: { children: ComponentChildren }) {
  return <dl class="figures">{children}</dl>;
}

export function Figure({ label, children, hint }: { label: string; children: ComponentChildren; hint?: ComponentChildren }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{children}</dd>
      {hint && <dd class="hint">{hint}</dd>}
    </div>
  );
}

/** Names and their values under each other. */
export function Facts({ rows }: { rows: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
