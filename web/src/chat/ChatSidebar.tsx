import { useEffect, useRef, useState } from "preact/hooks";
import { startNew } from "./ChatArea";
import { closeDrawer } from "../app/layout";
import { keysShown } from "../app/keys";
import { address, go } from "../app/router";
import { session } from "../app/session";
import { t as shell } from "../app/words";
import { Link } from "../ui/Button";
import { Icon, type IconName } from "../ui/Icon";
import { Menu, type MenuEntry } from "../ui/Menu";
import { importFile } from "./importFile";
import { loadMore, hasMore, listState, rename, rows, titleOf } from "./list";
import type { Row } from "./model";
import { onServer } from "./service";
import { openId, seed } from "./thread";
import { rowMenu } from "./rowMenu";
import { t } from "./words";

export function ChatSidebar() {
  const strings = t.value;
  return (
    <>
      <button
        type="button"
        class="new"
        title={`${strings.newConversation} (${keysShown("mod+shift+o").join(" ")})`}
        onClick={() => {
          seed.value = {};
          startNew();
        }}
      >
        <Icon name="pen" />
        {strings.newConversation}
      </button>
      {onServer.value && <Places />}
      <List />
      {session.value.kind === "household" && <Household />}
    </>
  );
}

function Places() {
  const strings = t.value;
  const places: [path: string, icon: IconName, label: string][] = [
    ["search", "search", strings.search],
    ["projects", "folder", strings.projects],
    ["assistants", "sparkles", strings.assistants],
  ];
  return (
    <ul class="places">
      {places.map(([path, icon, label]) => (
        <li key={path}>
          <Link to={path} class="nav-link" aria-current={address.value.path.split("/")[0] === path ? "page" : undefined} onClick={closeDrawer}>
            <Icon name={icon} />
            {label}
          </Link>
        </li>
      ))}
      <li>
        <Menu label={shell.value.more} class="nav-link" entries={morePlaces}>
          <Icon name="more" />
          {shell.value.more}
        </Menu>
      </li>
    </ul>
  );
}

function morePlaces(): MenuEntry[] {
  const strings = t.value;
  const visit = (path: string) => () => {
    closeDrawer();
    go(path);
  };
  return [
    { label: strings.prompts, icon: "list", run: visit("prompts") },
    { label: strings.memory, icon: "brain", run: visit("memory") },
    { label: strings.archived, icon: "archive", run: visit("archive") },
    "line",
    { label: strings.importFile, icon: "upload", run: () => void importFile() },
  ];
}

function List() {
  const strings = t.value;
  const listed = rows.value;
  return (
    <nav aria-label={strings.conversations}>
      {listed.length === 0 && listState.value === "ready" && (
        <p class="nothing">{onServer.value ? strings.noConversations : strings.noConversationsBrowser}</p>
      )}
      {grouped(listed, Date.now()).map(({ label, items }) => (
        <section key={label}>
          <h2>{strings[label]}</h2>
          <ul>
            {items.map((row) => (
              <Item key={row.id} row={row} />
            ))}
          </ul>
        </section>
      ))}
      {hasMore.value && <More />}
    </nav>
  );
}

/** The end of the list, when it comes into sight. */
function More() {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void loadMore(), { rootMargin: "400px" });
    observer.observe(end.current!);
    return () => observer.disconnect();
  }, [rows.value.length]);
  return <div ref={end} class="loading small" role="status" aria-label={t.value.loading} />;
}

export function Item({ row }: { row: Row }) {
  const [renaming, setRenaming] = useState(false);
  const strings = t.value;
  const title = titleOf(row);
  const chosen = openId.value === row.id;
  if (renaming) return <RenameField row={row} done={() => setRenaming(false)} />;
  return (
    <li class={chosen ? "item chosen" : "item"}>
      <Link to={`chat/${row.id}`} class="title" aria-current={chosen ? "page" : undefined} title={title} onClick={closeDrawer}>
        <span>{title}</span>
        {row.running && <i class="pulse" role="img" aria-label={strings.answering} />}
      </Link>
      <span class="tools">
        <Menu label={strings.moreFor(title)} entries={() => rowMenu(row, () => setRenaming(true))}>
          <Icon name="more" />
        </Menu>
      </span>
    </li>
  );
}

function RenameField({ row, done }: { row: Row; done: () => void }) {
  const finish = (title: string) => {
    void rename(row, title);
    done();
  };
  return (
    <li class="item">
      <input
        class="rename"
        aria-label={t.value.rename}
        defaultValue={row.title}
        maxLength={120}
        ref={(field) => {
          field?.focus();
          field?.select();
        }}
        onBlur={(event) => finish(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          if (event.key === "Enter") finish(event.currentTarget.value);
          if (event.key === "Escape") {
            event.stopPropagation();
            done();
          }
        }}
      />
    </li>
  );
}

function Household() {
  return (
    <details class="household">
      <summary>
        <Icon name="info" />
        {shell.value.householdBanner}
      </summary>
      <p>{shell.value.householdHelp}</p>
    </details>
  );
}

const DAY_MS = 86_400_000;
type Group = "pinned" | "today" | "yesterday" | "lastWeek" | "earlier";

function grouped(list: readonly Row[], now: number): { label: Group; items: Row[] }[] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const group = ({ pinned, updated_at }: Row): Group => {
    if (pinned) return "pinned";
    if (updated_at >= midnight) return "today";
    if (updated_at >= midnight - DAY_MS) return "yesterday";
    return updated_at >= midnight - 7 * DAY_MS ? "lastWeek" : "earlier";
  };
  const labels: Group[] = ["pinned", "today", "yesterday", "lastWeek", "earlier"];
  return labels
    .map((label) => ({ label, items: list.filter((row) => group(row) === label) }))
    .filter(({ items }) => items.length > 0);
}
