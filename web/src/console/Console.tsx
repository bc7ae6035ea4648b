/** The console's frame: the list of pages that the reader may see, and the page of the address beside it. */

import { useEffect } from "preact/hooks";
import { closeDrawer } from "../app/layout";
import { may, organisation } from "../app/session";
import { PageHeader, Shell } from "../app/Shell";
import { t as shell } from "../app/words";
import { Link } from "../ui/Button";
import { EmptyState } from "../ui/EmptyState";
import { Icon } from "../ui/Icon";
import "./console.css";
import { type ConsolePage, pages } from "./pages";
import { t } from "./words";

export default function Console({ page = "", id }: { page?: string; id?: string }) {
  const shown = pages.find(({ path }) => path === page);
  const title = shown ? t.value.pages[shown.title] : t.value.console;
  useEffect(() => {
    document.title = `${title} · OpenGLM`;
  }, [title]);
  return (
    <Shell label={t.value.console} sidebar={<Pages shown={shown} />}>
      <PageHeader>
        <h1 class="page-title">{title}</h1>
      </PageHeader>
      <main class="console">
        <div class="console-column">{shown ? <Shown page={shown} id={id ?? null} /> : <Missing />}</div>
      </main>
    </Shell>
  );
}

function Shown({ page, id }: { page: ConsolePage; id: string | null }) {
  const org = organisation.value;
  const allowed = page.permission === null || may(page.permission);
  if (org === null || !allowed) return <EmptyState title={shell.value.notAllowed} hint={shell.value.notAllowedHint} icon="shield" />;
  return <page.view key={`${page.path}/${org.id}/${id ?? ""}`} org={org.id} id={id} />;
}

const Missing = () => <EmptyState title={shell.value.notFound} hint={shell.value.notFoundHint} icon="search" />;

function Pages({ shown }: { shown: ConsolePage | undefined }) {
  const seen = pages.filter(({ permission }) => permission === null || may(permission));
  const groups = [...new Set(seen.map(({ group }) => group))];
  return (
    <nav class="pages" aria-label={t.value.console}>
      <Link to="" class="nav-link" onClick={closeDrawer}>
        <Icon name="left" />
        {shell.value.backToChat}
      </Link>
      {groups.map((group) => (
        <section key={group}>
          <h2>{t.value.groups[group]}</h2>
          <ul>
            {seen
              .filter((page) => page.group === group)
              .map((page) => (
                <li key={page.path}>
                  <Link
                    to={page.path ? `console/${page.path}` : "console"}
                    class="nav-link"
                    aria-current={page === shown ? "page" : undefined}
                    onClick={closeDrawer}
                  >
                    <Icon name={page.icon} />
                    {t.value.pages[page.title]}
                  </Link>
                </li>
              ))}
          </ul>
        </section>
      ))}
    </nav>
  );
}
