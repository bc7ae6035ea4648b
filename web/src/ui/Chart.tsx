/** Series over time or categories, as bars or lines in SVG; the same numbers as a table on request. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../app/words";
import { IconButton } from "./Button";
import { formatCompact } from "./format";

export interface Series {
  name: string;
  values: readonly number[];
}

interface ChartProps {
  title: string;
  labels: readonly string[];
  series: readonly Series[];
  kind?: "bars" | "lines";
  format?: (value: number) => string;
  height?: number;
  /** Called with the index of a label: the way down into the details. */
  onPick?: (at: number) => void;
}

const FIRST_WIDTH = 640; // until it is known how wide the place is
const LABEL_WIDTH = 72; // px that a label of the axis needs
const LEFT = 48;
const BOTTOM = 22;
const TOP = 8;

/** The width of an element as it is now: one unit of the drawing is one pixel, so its text is as large as any. */
function useWidth<E extends Element>() {
  const element = useRef<E>(null);
  const [width, setWidth] = useState(FIRST_WIDTH);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.max(200, Math.round(entry.contentRect.width))));
    if (element.current) observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width] as const;
}

export function Chart({ title, labels, series, kind = "bars", format = formatCompact, height = 200, onPick }: ChartProps) {
  const [asTable, setAsTable] = useState(false);
  const [at, point] = useState<number | null>(null);
  return (
    <figure class="chart">
      <figcaption>
        <span>{title}</span>
        <Legend series={series} at={at} label={at === null ? null : labels[at] ?? null} format={format} />
        <IconButton
          icon={asTable ? "chart" : "table"}
          label={asTable ? t.value.chartAsChart : t.value.chartAsTable}
          onClick={() => setAsTable(!asTable)}
        />
      </figcaption>
      {asTable ? (
        <Numbers labels={labels} series={series} format={format} />
      ) : (
        <Drawing {...{ title, labels, series, kind, format, height, at, point }} {...(onPick && { onPick })} />
      )}
    </figure>
  );
}

function Legend({ series, at, label, format }: { series: readonly Series[]; at: number | null; label: string | null; format: (value: number) => string }) {
  return (
    <span class="legend" aria-live="off">
      {label && <b>{label}</b>}
      {series.map(({ name, values }, index) => (
        <span key={name} class={`series-${index % 6}`}>
          <i />
          {name}
          {at !== null && <b>{format(values[at] ?? 0)}</b>}
        </span>
      ))}
    </span>
  );
}

interface DrawingProps extends Required<Pick<ChartProps, "title" | "labels" | "series" | "kind" | "format" | "height">> {
  at: number | null;
  point: (at: number | null) => void;
  onPick?: (at: number) => void;
}

function Drawing({ title, labels, series, kind, format, height, at, point, onPick }: DrawingProps) {
  const [element, width] = useWidth<SVGSVGElement>();
  const sums = labels.map((_, index) => series.map(({ values }) => values[index] ?? 0));
  const top = niceTop(Math.max(0, ...sums.map((all) => (kind === "bars" ? all.reduce((a, b) => a + b, 0) : Math.max(0, ...all)))));
  const left = LEFT + 5 * Math.max(0, format(top).length - 6); // long amounts need more room
  const step = (width - left) / Math.max(1, labels.length);
  const y = (value: number) => TOP + (height - TOP - BOTTOM) * (1 - value / top);
  const x = (index: number) => left + step * (index + 0.5);
  const every = Math.max(1, Math.ceil((labels.length * LABEL_WIDTH) / (width - left)));
  return (
    <svg ref={element} viewBox={`0 0 ${width} ${height}`} height={height} role="img" aria-label={title} onPointerLeave={() => point(null)}>
      {[0, 0.5, 1].map((share) => (
        <g key={share} class="grid">
          <line x1={left} x2={width} y1={y(top * share)} y2={y(top * share)} />
          <text x={left - 8} y={y(top * share) + 4} text-anchor="end">
            {format(top * share)}
          </text>
        </g>
      ))}
      {labels.map((label, index) =>
        index % every === 0 ? (
          <text key={index} x={x(index)} y={height - 6} text-anchor="middle" class="label">
            {label}
          </text>
        ) : null,
      )}
      {kind === "bars" ? bars(sums, step, x, y) : lines(series, x, y)}
      {labels.map((_, index) => (
        <rect
          key={index}
          class={at === index ? "column here" : "column"}
          x={left + step * index}
          y={TOP}
          width={step}
          height={height - TOP - BOTTOM}
          onPointerEnter={() => point(index)}
          onClick={() => onPick?.(index)}
        />
      ))}
    </svg>
  );
}

function bars(sums: number[][], step: number, x: (index: number) => number, y: (value: number) => number) {
  const width = Math.min(28, step * 0.7);
  return sums.map((values, index) => {
    let below = 0;
    return values.map((value, which) => {
      const from = below;
      below += value;
      if (value <= 0) return null;
      const height = Math.max(1, y(from) - y(below));
      return <rect key={`${index}.${which}`} class={`bar series-${which % 6}`} x={x(index) - width / 2} y={y(below)} width={width} height={height} rx={Math.min(2, height / 2)} />;
    });
  });
}

function lines(series: readonly Series[], x: (index: number) => number, y: (value: number) => number) {
  return series.map(({ name, values }, which) => (
    <polyline key={name} class={`line series-${which % 6}`} points={values.map((value, index) => `${x(index)},${y(value)}`).join(" ")} />
  ));
}

function Numbers({ labels, series, format }: Pick<ChartProps, "labels" | "series"> & { format: (value: number) => string }) {
  return (
    <div class="table-scroll">
      <table class="rows">
        <thead>
          <tr>
            <th />
            {series.map(({ name }) => (
              <th key={name} class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {labels.map((label, index) => (
            <tr key={index}>
              <td>{label}</td>
              {series.map(({ name, values }) => (
                <td key={name} class="number">
                  {format(values[index] ?? 0)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The next of 1, 2, 5 times a power of ten: an axis that ends in a round number. */
function niceTop(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}
