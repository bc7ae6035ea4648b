import { Button } from "../../ui/Button";
import { Link } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Time } from "../../ui/Time";
import { archive, remove, titleOf } from "../list";
import type { Row } from "../model";
import { backend } from "../service";
import { t } from "../words";
import { Page, useLoaded } from "./Page";

export function Archive() {
  const { value, failure, load } = useLoaded(() => backend.value!.list({ archived: true }));
  const after = (deed: (row: Row) => Promise<void>, row: Row) => () => void deed(row).then(load);
  return (
    <Page title={t.value.archived} failure={failure}>
      {value?.items.length === 0 && <EmptyState title={t.value.archiveEmpty} icon="archive" />}
      <ul class="plain-list">
        {value?.items.map((row) => (
          <li key={row.id}>
            <Link to={`chat/${row.id}`} class="plain-title">
              {titleOf(row)}
            </Link>
            <Time at={row.updated_at} />
            <Button onClick={after(archive, row)}>{t.value.unarchive}</Button>
            <Button kind="danger" onClick={after(remove, row)}>
              {t.value.remove}
            </Button>
          </li>
        ))}
      </ul>
    </Page>
  );
}
