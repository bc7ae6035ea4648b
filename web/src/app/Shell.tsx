/** The frame of chat and console: side bar, drawer on a phone, the page beside it. */

import type { ComponentChildren } from "preact";
import { IconButton, Link } from "../ui/Button";
import { Mark } from "../ui/Icon";
import { AccountBar } from "./AccountBar";
import { closeDrawer, isNarrow, setSidebar, sidebarOpen } from "./layout";
import { t } from "./words";

interface ShellProps {
  label: string;
  sidebar: ComponentChildren;
  children: ComponentChildren;
}

export function Shell({ label, sidebar, children }: ShellProps) {
  const drawer = isNarrow.value && sidebarOpen();
  return (
    <div class="frame" data-sidebar={sidebarOpen() ? "open" : "closed"}>
      <a class="skip" href="#content" onClick={skip}>
        {t.value.skipToContent}
      </a>
      <aside class="sidebar" aria-label={label} inert={!sidebarOpen()}>
        <div class="brand">
          <Link to="" class="home" onClick={closeDrawer}>
            <Mark />
            <span>OpenGLM</span>
          </Link>
          <span class="grow" />
          <IconButton icon="panel" label={t.value.closeSidebar} onClick={() => setSidebar(false)} />
        </div>
        {sidebar}
        <AccountBar />
      </aside>
      {drawer && <button class="veil" tabIndex={-1} aria-label={t.value.closeSidebar} onClick={closeDrawer} />}
      <div class="stage" id="content" tabIndex={-1} inert={drawer}>
        {children}
      </div>
    </div>
  );
}

function skip(event: Event): void {
  event.preventDefault(); // the base address would turn #content into another page
  const content = document.getElementById("content");
  (content?.querySelector<HTMLElement>("textarea, main [tabindex='0']") ?? content)?.focus();
}

/** The bar over a page: the button that brings the side bar back, then what the page puts there. */
export function PageHeader({ children }: { children?: ComponentChildren }) {
  return (
    <header class="header">
      {!sidebarOpen() && <IconButton icon="panel" label={t.value.openSidebar} onClick={() => setSidebar(true)} />}
      {children}
    </header>
  );
}
