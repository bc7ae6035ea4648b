import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { t } from "../app/words";
import { EmptyState } from "./EmptyState";
import { Icon } from "./Icon";

export interface Column<Row> {
  /** A stable name of the column. */
  id: string;
  title: string;
  cell: (row: Row) => ComponentChildren;
  /** Makes the column sortable. */
  value?: (row: Row) => number | string;
  /** Numbers stand at the right, under each other. */
  numeric?: boolean;
  /** Left out where the screen is narrow. */
  wide?: boolean;
}

interface TableProps<Row> {
  label: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  empty?: ComponentChildren;
  onOpen?: (row: Row) => void;
}

/** Rows under sortable columns. With `onOpen` a row opens on click and on Enter. */
export function Table<Row>({ label, columns, rows, keyOf, empty, onOpen }: TableProps<Row>) {
  const [order, setOrder] = useState<{ id: string; down: boolean } | null>(null);
  if (rows.length === 0) return <>{empty ?? <EmptyState title={t.value.nothingYet} />}</>;
  const by = columns.find(({ id }) => id === order?.id)?.value;
  const sorted = by ? rows.toSorted((a, b) => compare(by(a), by(b)) * (order?.down ? -1 : 1)) : rows;
  const turn = (id: string) => setOrder(order?.id === id ? { id, down: !order.down } : { id, down: false });
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={label}>
      <table class={onOpen ? "rows opens" : "rows"}>
        <thead>
          <tr>
            {columns.map(({ id, title, value, numeric, wide }) => (
              <th
                key={id}
                scope="col"
                class={classes(numeric, wide)}
                aria-sort={order?.id === id ? (order.down ? "descending" : "ascending") : undefined}
              >
                {value ? (
                  <button type="button" title={t.value.sortBy(title)} onClick={() => turn(id)}>
                    {title}
                    {order?.id === id && <Icon name={order.down ? "chevron" : "chevronUp"} />}
                  </button>
                ) : (
                  title
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.map((row) => (
            <tr
              key={keyOf(row)}
              tabIndex={onOpen ? 0 : undefined}
              onClick={(event) => !isControl(event.target) && onOpen?.(row)}
              onKeyDown={(event) => event.key === "Enter" && event.target === event.currentTarget && onOpen?.(row)}
            >
              {columns.map(({ id, title, cell, numeric, wide }) => (
                <td key={id} class={classes(numeric, wide)} data-label={title}>
                  {cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const classes = (numeric?: boolean, wide?: boolean) => [numeric && "number", wide && "wide"].filter(Boolean).join(" ") || undefined;

const isControl = (target: EventTarget | null) => target instanceof Element && target.closest("button, a, input, select, label") !== null;

function compare(a: number | string, b: number | string): number {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}
