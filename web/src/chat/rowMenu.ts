/** What one can do to a conversation, in the list and in its header. */

import type { MenuEntry } from "../ui/Menu";
import { archive, moveTo, pin, remove } from "./list";
import type { Row } from "./model";
import { projects } from "./projects";
import { onServer } from "./service";
import { t } from "./words";

export function rowMenu(row: Row, rename: () => void): MenuEntry[] {
  const strings = t.value;
  const more: MenuEntry[] = onServer.value
    ? [
        { label: row.archived ? strings.unarchive : strings.archive, icon: "archive", run: () => void archive(row) },
        ...intoProjects(row),
      ]
    : [];
  return [
    { label: strings.rename, icon: "edit", run: rename },
    { label: row.pinned ? strings.unpin : strings.pin, icon: "pin", run: () => void pin(row) },
    ...more,
    "line",
    { label: strings.remove, icon: "trash", danger: true, run: () => void remove(row) },
  ];
}

function intoProjects(row: Row): MenuEntry[] {
  if (projects.value.length === 0) return [];
  return [
    { heading: t.value.moveTo },
    { label: t.value.noProject, checked: row.project_id === null, run: () => void moveTo(row, null) },
    ...projects.value.map(({ id, name }) => ({ label: name, checked: row.project_id === id, run: () => void moveTo(row, id) })),
  ];
}
